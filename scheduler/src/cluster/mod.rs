//! What the scheduler knows of the cluster: nodes with what is taken of them, and pods reduced to what decides.
//!
//! The state changes in small steps as nodes and pods change; a pod that was just given a node is *assumed* there until
//! the cache shows it bound, so that the next decision counts it.

mod affinity;
mod node;
mod object;
mod pod;
mod resources;
mod state;

pub use affinity::{AffinityTerm, WeightedTerm};
pub use node::NodeInfo;
pub use object::{Container, Pod, PodSpec};
pub use pod::{HostPort, PodInfo, SpreadConstraint};
pub use resources::Resources;
pub use state::{ClusterState, NodeChange};
