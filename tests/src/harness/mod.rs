//! The means of the end-to-end tests. Nothing here stands in for a part of the cluster.

mod background;
mod cluster;
mod collector;
mod command;
mod images;
mod kubectl;
mod machine;
mod registry;
mod runner;
mod wait;
mod websocket;

pub use background::Background;
pub use cluster::{Cluster, Network, Shape};
pub use collector::Collector;
pub use command::{Output, run};
pub use images::{Image, busybox, digest, nginx};
pub use kubectl::Kubectl;
pub use machine::{MACHINE_ADDRESS, on_a_machine_of_its_own};
pub use registry::{PASSWORD as REGISTRY_PASSWORD, Registry, USER as REGISTRY_USER};
pub use runner::{Scenario, run_all};
pub use wait::{eventually, eventually_within};
pub use websocket::{Message, websocket};

/// A test's failure: what was expected and what was seen.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Failure>;
