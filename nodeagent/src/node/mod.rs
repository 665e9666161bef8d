//! The node as the cluster sees it: its object, its Lease, its conditions, its place in the pod network.

pub mod addresses;
pub mod capacity;
pub mod cni_config;
pub mod conditions;
pub mod heartbeat;
pub mod info;
pub mod lease;
pub mod object;
pub mod pressure;
pub mod routes;
pub mod watch;
