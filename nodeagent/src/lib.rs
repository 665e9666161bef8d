//! The node agent: registers its node, runs the pods that are bound to it on containerd, and reports on both.

pub mod context;
pub mod door;
pub mod environment;
pub mod images;
pub mod kubelet_configuration;
pub mod network;
pub mod node;
mod options;
pub mod pods;
pub mod probes;
pub mod resources;
mod run;
pub mod runtime;
pub mod volumes;

pub use options::Options;
pub use run::{Error, run};
