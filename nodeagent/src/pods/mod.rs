//! The pods of this node, one actor each.
//!
//! [`dispatcher`] gives every pod an [`actor`]. The actor keeps three things up to date: the pod as the API has it,
//! what the runtime shows of it ([`observation`]), and what the agent remembers ([`memory`]). From these [`plan`]
//! decides what to do, [`status`] what to report, both without I/O; [`execute`] does it.

pub mod actor;
pub mod backoff;
pub mod cgroups;
pub mod deadline;
pub mod dispatcher;
pub mod dns;
pub mod events;
pub mod execute;
#[cfg(test)]
mod fixtures;
pub mod hooks;
pub mod link;
pub mod mail;
pub mod memory;
pub mod observation;
pub mod plan;
pub mod qos;
pub mod references;
pub mod security;
pub mod spec;
pub mod state_file;
pub mod status;
pub mod status_patch;
