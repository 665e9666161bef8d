//! What is done to the members: planned from a seed, then carried out on whoever leads at the time.

mod executor;
mod monitor;
mod schedule;
mod testimony;

pub use executor::Executor;
pub use monitor::{Leadership, Monitor};
pub use schedule::{Action, Cut, Fault, FaultKind, Step, Target, schedule};
