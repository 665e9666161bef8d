//! Filters: whether a pod can run on a node, and why not, in upstream's plugins and words.

mod fit;
mod node_affinity;
mod node_name;
mod node_ports;
mod node_unschedulable;
mod pod_affinity;
mod taints;
mod topology_spread;

pub use node_affinity::matches_term;
pub use taints::tolerates;
pub(crate) use topology_spread::{counts_for, matching};

use crate::cluster::{ClusterState, NodeInfo, PodInfo};

/// The plugins, in the order in which they filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Plugin {
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    PodTopologySpread,
    InterPodAffinity,
}

/// Why a node does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub plugin: Plugin,
    pub reasons: Vec<String>,
    /// Whether removing pods from the node could change it.
    pub resolvable: bool,
}

impl Rejection {
    pub fn new(plugin: Plugin, reason: impl Into<String>, resolvable: bool) -> Rejection {
        Rejection { plugin, reasons: vec![reason.into()], resolvable }
    }
}

/// What is computed once for a pod before nodes are looked at.
pub struct Prepared {
    spread: topology_spread::Prepared,
    affinity: pod_affinity::Prepared,
}

/// Looks at the whole cluster, if the pod or a pod in it asks for that.
pub fn prepare(cluster: &ClusterState, pod: &PodInfo) -> Prepared {
    Prepared { spread: topology_spread::prepare(cluster, pod), affinity: pod_affinity::prepare(cluster, pod) }
}

/// The first plugin that rejects the node.
pub fn filter(prepared: &Prepared, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    local(pod, node)?;
    topology_spread::filter(&prepared.spread, pod, node)?;
    pod_affinity::filter(&prepared.affinity, node)
}

/// The filters that look at the node alone.
pub fn local(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    node_unschedulable::filter(pod, node)?;
    node_name::filter(pod, node)?;
    taints::filter(pod, node)?;
    node_affinity::filter(pod, node)?;
    node_ports::filter(pod, node)?;
    fit::filter(pod, node)
}

/// Whether a plugin's verdict on one node depends on pods and nodes elsewhere.
pub fn looks_elsewhere(plugin: Plugin) -> bool {
    matches!(plugin, Plugin::PodTopologySpread | Plugin::InterPodAffinity)
}

#[cfg(test)]
mod tests;
