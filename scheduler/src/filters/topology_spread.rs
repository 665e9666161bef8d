//! Pods of one kind are spread evenly over the values of a node label.

use std::collections::HashMap;

use super::{Plugin, Rejection, node_affinity, tolerates};
use crate::cluster::{ClusterState, NodeInfo, PodInfo, SpreadConstraint};

/// How many matching pods each value of the label has, for each required constraint.
pub(super) struct Prepared {
    counts: Vec<HashMap<String, i64>>,
}

/// Whether pods on the node count for the constraint at all.
pub(crate) fn counts_for(constraint: &SpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> bool {
    if constraint.honors_affinity && !node_affinity::matches(pod, node) {
        return false;
    }
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
    !constraint.honors_taints
        || node.taints().iter().all(|taint| taint.effect == "PreferNoSchedule" || tolerates(tolerations, taint))
}

/// The node's pods that the constraint means.
pub(crate) fn matching(constraint: &SpreadConstraint, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let matches = |other: &&std::sync::Arc<PodInfo>| {
        other.key.namespace == pod.key.namespace
            && !other.is_terminating()
            && constraint.selector.matches(other.labels())
    };
    i64::try_from(node.pods.values().filter(matches).count()).unwrap_or(i64::MAX)
}

fn required(pod: &PodInfo) -> impl Iterator<Item = &SpreadConstraint> {
    pod.spread.iter().filter(|constraint| constraint.required)
}

pub(super) fn prepare(cluster: &ClusterState, pod: &PodInfo) -> Prepared {
    let constraints: Vec<&SpreadConstraint> = required(pod).collect();
    let mut counts = vec![HashMap::new(); constraints.len()];
    if constraints.is_empty() {
        return Prepared { counts };
    }
    for node in cluster.nodes() {
        // Only nodes that have all the labels are domains.
        if !constraints.iter().all(|constraint| node.label(&constraint.topology_key).is_some()) {
            continue;
        }
        for (constraint, counts) in constraints.iter().zip(&mut counts) {
            if let Some(value) = node.label(&constraint.topology_key)
                && counts_for(constraint, pod, node)
            {
                *counts.entry(value.to_owned()).or_default() += matching(constraint, pod, node);
            }
        }
    }
    Prepared { counts }
}

pub(super) fn filter(prepared: &Prepared, pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    const MISMATCH: &str = "node(s) didn't match pod topology spread constraints";
    for (constraint, counts) in required(pod).zip(&prepared.counts) {
        let Some(value) = node.label(&constraint.topology_key) else {
            let reason = format!("{MISMATCH} (missing required label)");
            return Err(Rejection::new(Plugin::PodTopologySpread, reason, false));
        };
        let own = i64::from(constraint.selector.matches(pod.labels()));
        // With fewer domains than asked for, the least used one counts as empty.
        let least = match counts.len() < constraint.min_domains {
            true => 0,
            false => counts.values().copied().min().unwrap_or_default(),
        };
        let here = counts.get(value).copied().unwrap_or_default();
        if here + own - least > constraint.max_skew {
            return Err(Rejection::new(Plugin::PodTopologySpread, MISMATCH, true));
        }
    }
    Ok(())
}
