//! The supervisor of a cluster's processes on this machine: starts them, starts them again when they end, and finds
//! them again when it was itself killed.
//!
//! A process outlives its supervisor. Each one leaves a record (pid and the kernel's start time for it, so that a reused
//! pid is not mistaken for it), and a new supervisor takes up what still runs. Ends are seen through pidfds, which work
//! for children and for adopted processes alike.

mod child;
mod daemon;
mod record;

pub use daemon::{is_running, run, start, stop, stop_agents};
pub use record::Record;
