//! Supervision: what fails is made anew, and the mail that it had not begun is not lost.
//!
//! A [`Role`] is what an actor does; it runs as an actix actor on one of the process' arbiters. Its supervisor holds the
//! factory and the inbox, and hands over one mail at a time. A role that panics, returns an error, or does not finish a
//! mail within [`Spec::stuck_after`] is dropped and made anew by the factory after a back-off; the mail that it was at
//! is dropped with it (it may be what killed it), all other mail waits. Past the restart limit the failure escalates.
//!
//! actix's own Supervisor restarts an actor that stopped, but not one that panicked: its mailbox stays closed while the
//! process lives on. Hence this layer.

mod arbiters;
mod inbox;
mod role;
mod spec;
mod supervisor;

pub use arbiters::Arbiters;
pub use inbox::{Inbox, Rejected};
pub use role::Role;
pub use spec::{Escalation, Spec};
pub use supervisor::supervise;
