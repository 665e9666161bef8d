//! The means of the end-to-end tests. Nothing here stands in for a part of the cluster.

mod cluster;
mod command;
mod images;
mod kubectl;
mod registry;
mod runner;
mod wait;

pub use cluster::{Cluster, Shape};
pub use command::{Output, run};
pub use images::{Image, busybox, nginx};
pub use kubectl::Kubectl;
pub use registry::{PASSWORD as REGISTRY_PASSWORD, Registry, USER as REGISTRY_USER};
pub use runner::{Scenario, run_all};
pub use wait::{eventually, eventually_within};

/// A test's failure: what was expected and what was seen.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Failure>;
