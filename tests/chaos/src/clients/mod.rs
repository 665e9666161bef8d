//! Clients of all members: they ask, they watch, they compact, and all that they see is written down.

mod client;
mod compactor;
mod connection;
mod generator;
mod pulse;
mod translate;
mod watcher;

pub use client::{Client, Load};
pub use compactor::Compactor;
pub use connection::{Connection, Failure};
pub use generator::Generator;
pub use pulse::Pulse;
pub use watcher::{Habit, Watcher};

use crate::history::Span;

/// All keys of the suite.
pub fn all_keys() -> Span {
    Span::prefix("k/")
}
