//! Scores: which of the nodes that do is the best, by upstream's plugins and weights.
//!
//! Each plugin gives each node 0 to 100; the sums weigh them.

mod image_locality;
mod node_affinity;
mod pod_affinity;
mod resources;
mod spread;
mod taints;

use crate::cluster::{ClusterState, NodeInfo, PodInfo};

pub const MAX: i64 = 100;

/// The weighted sums, in the order of `nodes`.
pub fn score(cluster: &ClusterState, pod: &PodInfo, nodes: &[&NodeInfo]) -> Vec<i64> {
    let mut sums = vec![0; nodes.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        for (sum, score) in sums.iter_mut().zip(scores) {
            *sum += weight * score;
        }
    };
    let each = |score: &dyn Fn(&NodeInfo) -> i64| nodes.iter().map(|node| score(node)).collect::<Vec<i64>>();
    add(1, each(&|node| resources::least_allocated(pod, node)));
    if !pod.requests.asks_for_nothing() {
        add(1, each(&|node| resources::balanced(pod, node)));
    }
    add(1, each(&|node| image_locality::score(cluster, pod, node)));
    add(3, share_of_highest(each(&|node| taints::intolerable(pod, node)), true));
    if node_affinity::has_preferences(pod) {
        add(2, share_of_highest(each(&|node| node_affinity::score(pod, node)), false));
    }
    if let Some(scores) = pod_affinity::scores(cluster, pod, nodes) {
        add(2, scores);
    }
    if let Some(scores) = spread::scores(cluster, pod, nodes) {
        add(2, scores);
    }
    sums
}

/// Scores as shares of the highest; `reverse` makes the lowest the best.
fn share_of_highest(mut scores: Vec<i64>, reverse: bool) -> Vec<i64> {
    let highest = scores.iter().copied().max().unwrap_or_default();
    for score in &mut scores {
        let share = if highest == 0 { 0 } else { MAX * *score / highest };
        *score = if reverse { MAX - share } else { share };
    }
    scores
}

#[cfg(test)]
mod tests;
