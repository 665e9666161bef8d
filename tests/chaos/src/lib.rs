//! What happens to the store when everything around it breaks.
//!
//! ```text
//! chaos                                    a minute of all faults, by a seed that it prints
//! chaos --quick                            the short fixed run that deploy/test makes
//! chaos --seconds 3600 --seed 7            an hour, in rounds of a minute
//! chaos --fault kill,partition --members 5
//! chaos --kube-apiserver PROGRAM           what upstream's API server makes of it
//! chaos --help
//! ```
//!
//! Three real raftstore processes, each in a network namespace and a directory of its own, are killed, stopped, cut off,
//! filled up, wiped and replaced, by a plan that follows from a seed. Meanwhile clients of all members put, delete, swap,
//! read and watch, a compactor is at their heels, and every request and answer is written down ([`history`]). At the end
//! of a round all faults are taken back, the store must be whole again, and [`judge`] weighs what was written down.
//!
//! With `--failpoints` the members are `raftstore-failpoints` (`cargo build --release -p raftstore --features failpoints --bin
//! raftstore-failpoints`), which kill themselves at chosen points; with `--plant BUG` they have a bug, and the run is good if
//! what `--expect` names is found.
//!
//! With `--kube-apiserver PROGRAM` the members carry upstream's API server, and kubectl writes and watches through it
//! ([`upstream`]).
//!
//! The plan is the same for the same seed; what the processes make of it is not, so a run that finds something keeps its
//! directory with the members' logs. It needs root for namespaces, and nothing of it is left when it ends.

pub mod clients;
pub mod cluster;
mod error;
pub mod faults;
pub mod history;
pub mod judge;
pub mod options;
pub mod plan;
pub mod quick;
pub mod run;
pub mod summary;
pub mod upstream;

pub use error::{Error, Result};
