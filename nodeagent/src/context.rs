//! What every part of the agent works with: the cluster, the runtime, and the node's own facts.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use keelson_client::Client;
use keelson_client::events::EventRecorder;
use keelson_client::informer::Informer;
use keelson_process::Process;
use tokio::sync::Semaphore;

use crate::pods::dns::ClusterDns;
use crate::pods::references::References;
use crate::runtime::Runtime;
use crate::volumes::tokens::Tokens;

/// Cheap to clone.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Parts>,
}

pub struct Parts {
    pub process: Process,
    /// Work runs here, off the arbiters on which actors decide.
    pub tasks: tokio::runtime::Handle,
    pub client: Client,
    pub runtime: Runtime,
    pub recorder: EventRecorder,
    pub references: References,
    pub tokens: Tokens,
    pub services: Informer<Service>,
    pub node: NodeFacts,
    /// Sandboxes and containers that are made at once.
    pub starts: Semaphore,
    /// Status patches under way at once.
    pub reports: Semaphore,
}

/// What is fixed about this node while the agent runs.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    pub name: String,
    /// First the address that the node is known by.
    pub ips: Vec<IpAddr>,
    pub root_dir: PathBuf,
    pub cgroup_root: String,
    pub dns: ClusterDns,
    pub resolv_conf: PathBuf,
    pub allocatable: BTreeMap<String, Quantity>,
    /// Bytes.
    pub memory_capacity: i64,
}

impl Context {
    pub fn new(parts: Parts) -> Context {
        Context { inner: Arc::new(parts) }
    }
}

impl std::ops::Deref for Context {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.inner
    }
}
