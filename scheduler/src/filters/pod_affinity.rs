//! Pods that must run beside others, or must not.

use std::collections::HashSet;

use super::{Plugin, Rejection};
use crate::cluster::{AffinityTerm, ClusterState, NodeInfo, PodInfo};

/// A place: the value of a node label.
type Place = (String, String);

pub(super) struct Prepared {
    /// For each affinity term of the pod, the label and the values where a matching pod runs.
    near: Vec<(String, HashSet<String>)>,
    /// The pod's own terms match itself, and no pod matches them: it may be the first of its kind.
    may_be_first: bool,
    /// Where a pod runs that this one avoids.
    avoided: HashSet<Place>,
    /// Where a pod runs that avoids this one.
    avoiding: HashSet<Place>,
}

fn place(node: &NodeInfo, term: &AffinityTerm) -> Option<Place> {
    Some((term.topology_key.clone(), node.label(&term.topology_key)?.to_owned()))
}

pub(super) fn prepare(cluster: &ClusterState, pod: &PodInfo) -> Prepared {
    let near: Vec<(String, HashSet<String>)> =
        pod.affinity.iter().map(|term| (term.topology_key.clone(), HashSet::new())).collect();
    let mut prepared = Prepared { near, may_be_first: false, avoided: HashSet::new(), avoiding: HashSet::new() };
    let own_labels = cluster.namespace_labels(&pod.key.namespace);
    let has_terms = !pod.affinity.is_empty() || !pod.anti_affinity.is_empty();
    for node in cluster.nodes().filter(|node| has_terms || node.anti_affine_pods > 0) {
        for other in node.pods.values() {
            for term in other.anti_affinity.iter().filter(|term| term.matches(pod, own_labels)) {
                prepared.avoiding.extend(place(node, term));
            }
            if !has_terms {
                continue;
            }
            let labels = cluster.namespace_labels(&other.key.namespace);
            for term in pod.anti_affinity.iter().filter(|term| term.matches(other, labels)) {
                prepared.avoided.extend(place(node, term));
            }
            // A pod counts only if it satisfies all terms at once.
            if !pod.affinity.is_empty() && pod.affinity.iter().all(|term| term.matches(other, labels)) {
                for (key, values) in &mut prepared.near {
                    values.extend(node.label(key).map(str::to_owned));
                }
            }
        }
    }
    prepared.may_be_first = !pod.affinity.is_empty()
        && prepared.near.iter().all(|(_, values)| values.is_empty())
        && pod.affinity.iter().all(|term| term.matches(pod, own_labels));
    prepared
}

pub(super) fn filter(prepared: &Prepared, node: &NodeInfo) -> Result<(), Rejection> {
    let plugin = Plugin::InterPodAffinity;
    let is_near = prepared
        .near
        .iter()
        .all(|(key, values)| node.label(key).is_some_and(|value| prepared.may_be_first || values.contains(value)));
    if !is_near {
        return Err(Rejection::new(plugin, "node(s) didn't match pod affinity rules", false));
    }
    let is_in = |places: &HashSet<Place>| places.iter().any(|(key, value)| node.label(key) == Some(value));
    if is_in(&prepared.avoided) {
        return Err(Rejection::new(plugin, "node(s) didn't match pod anti-affinity rules", true));
    }
    if is_in(&prepared.avoiding) {
        return Err(Rejection::new(plugin, "node(s) didn't satisfy existing pods anti-affinity rules", true));
    }
    Ok(())
}
