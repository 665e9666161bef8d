//! The object model of Kubernetes as Keelson speaks it: what a name, a quantity, a selector, a patch and an error are.
//!
//! Objects themselves are `serde_json::Value` where they must survive untouched (the API server) and k8s-openapi's
//! types where a component acts on them. Everything here is pure: no I/O, no clocks except [`time::now`].

pub mod field;
pub mod int_or_string;
pub mod meta;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod status;
pub mod time;
