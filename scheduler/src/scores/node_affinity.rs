//! Nodes that the pod prefers by their labels.

use k8s_openapi::api::core::v1::PreferredSchedulingTerm;

use crate::cluster::{NodeInfo, PodInfo};
use crate::filters::matches_term;

fn preferences(pod: &PodInfo) -> &[PreferredSchedulingTerm] {
    let affinity = pod.spec().affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let terms = affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_deref());
    terms.unwrap_or_default()
}

pub(super) fn has_preferences(pod: &PodInfo) -> bool {
    !preferences(pod).is_empty()
}

/// The weights of the preferences that the node meets.
pub(super) fn score(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let met = preferences(pod).iter().filter(|term| matches_term(&term.preference, node));
    met.map(|term| i64::from(term.weight)).sum()
}
