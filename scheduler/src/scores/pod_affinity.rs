//! Nodes near pods that this one likes or that like it, and far from those that do not.

use std::collections::HashMap;

use super::MAX;
use crate::cluster::{AffinityTerm, ClusterState, NodeInfo, PodInfo};

/// What a required term of a present pod weighs for a pod that it means.
const REQUIRED_WEIGHT: i64 = 1;

/// What the pods at each value of each label make of the place.
#[derive(Default)]
struct Places(HashMap<String, HashMap<String, i64>>);

impl Places {
    fn add(&mut self, node: &NodeInfo, term: &AffinityTerm, weight: i64) {
        let Some(value) = node.label(&term.topology_key) else { return };
        let values = self.0.entry(term.topology_key.clone()).or_default();
        *values.entry(value.to_owned()).or_default() += weight;
    }

    fn sum(&self, node: &NodeInfo) -> i64 {
        self.0.iter().filter_map(|(key, values)| values.get(node.label(key)?).copied()).sum()
    }
}

/// `None` if no term in the cluster says anything of the pod.
pub(super) fn scores(cluster: &ClusterState, pod: &PodInfo, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let mut places = Places::default();
    let own_labels = cluster.namespace_labels(&pod.key.namespace);
    for node in cluster.nodes() {
        for other in node.pods.values() {
            if !pod.preferred_affinity.is_empty() {
                let labels = cluster.namespace_labels(&other.key.namespace);
                for liked in pod.preferred_affinity.iter().filter(|liked| liked.term.matches(other, labels)) {
                    places.add(node, &liked.term, liked.weight);
                }
            }
            for liking in other.preferred_affinity.iter().filter(|liking| liking.term.matches(pod, own_labels)) {
                places.add(node, &liking.term, liking.weight);
            }
            for term in other.affinity.iter().filter(|term| term.matches(pod, own_labels)) {
                places.add(node, term, REQUIRED_WEIGHT);
            }
        }
    }
    if places.0.is_empty() {
        return None;
    }
    let sums: Vec<i64> = nodes.iter().map(|node| places.sum(node)).collect();
    let lowest = sums.iter().copied().min().unwrap_or_default();
    let highest = sums.iter().copied().max().unwrap_or_default();
    let range = highest - lowest;
    Some(sums.into_iter().map(|sum| if range == 0 { 0 } else { MAX * (sum - lowest) / range }).collect())
}
