//! The scheduler: gives each pod that has none a node, by Kubernetes' own rules.
//!
//! The core is pure: [`cluster`] is what it knows, [`filters`] and [`scores`] judge nodes, [`decide`] chooses one,
//! [`queue`] says whose turn it is, [`preempt`] finds room for the important. The shell feeds it from caches and posts
//! what it decides: `service` is the actor, `outcome` what it tells the API server.
//!
//! A decision is *assumed* at once and bound in the background, so that deciding never waits for the network.

pub mod cluster;
pub mod decide;
pub mod filters;
mod metrics;
mod options;
mod outcome;
pub mod preempt;
pub mod queue;
mod run;
pub mod scores;
mod service;
#[cfg(test)]
mod testing;

pub use options::Options;
pub use run::{Error, run};
