//! Even spreading where it is wished for but not required.
//!
//! A pod without constraints of its own is spread, with those of its controller, over hosts and zones: upstream's
//! default constraints (skew 3 over hosts, 5 over zones).

use std::collections::HashMap;

use super::MAX;
use crate::cluster::{ClusterState, NodeInfo, PodInfo};
use crate::filters::{counts_for, matching};

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The pods of a node that count; `None` for a node that does not.
type Count<'a> = Box<dyn Fn(&NodeInfo) -> Option<i64> + 'a>;

/// One wish: the label to spread over, the skew that is fine, and the pods that count on a node.
struct Wish<'a> {
    key: &'a str,
    max_skew: i64,
    count: Count<'a>,
}

fn wishes<'a>(pod: &'a PodInfo) -> Vec<Wish<'a>> {
    if !pod.spread.is_empty() {
        let soft = pod.spread.iter().filter(|constraint| !constraint.required);
        return soft
            .map(|constraint| Wish {
                key: &constraint.topology_key,
                max_skew: constraint.max_skew,
                count: Box::new(move |node| counts_for(constraint, pod, node).then(|| matching(constraint, pod, node))),
            })
            .collect();
    }
    let Some(controller) = pod.controller() else { return Vec::new() };
    let siblings = move |node: &NodeInfo| {
        let siblings = node.pods.values().filter(|other| other.controller() == Some(controller));
        Some(i64::try_from(siblings.filter(|other| !other.is_terminating()).count()).unwrap_or(i64::MAX))
    };
    vec![
        Wish { key: HOST, max_skew: 3, count: Box::new(siblings) },
        Wish { key: ZONE, max_skew: 5, count: Box::new(siblings) },
    ]
}

/// `None` if nothing is to be spread.
pub(super) fn scores(cluster: &ClusterState, pod: &PodInfo, nodes: &[&NodeInfo]) -> Option<Vec<i64>> {
    let wishes = wishes(pod);
    if wishes.is_empty() {
        return None;
    }
    let explicit = !pod.spread.is_empty();
    // With explicit constraints a node without one of the labels gets nothing; the defaults skip what it lacks.
    let ignored = |node: &NodeInfo| explicit && wishes.iter().any(|wish| node.label(wish.key).is_none());
    let mut sums = vec![0.0; nodes.len()];
    for wish in &wishes {
        let counts = count(cluster, wish, nodes);
        // Few domains weigh less than many: a skew over thousands of hosts says little.
        let weight = (counts.len() as f64 + 2.0).ln();
        for (sum, node) in sums.iter_mut().zip(nodes) {
            if let Some(count) = node.label(wish.key).and_then(|value| counts.get(value)) {
                *sum += *count as f64 * weight + (wish.max_skew - 1) as f64;
            }
        }
    }
    let sums: Vec<Option<i64>> =
        sums.into_iter().zip(nodes).map(|(sum, node)| (!ignored(node)).then_some(sum.round() as i64)).collect();
    let lowest = sums.iter().copied().flatten().min().unwrap_or_default();
    let highest = sums.iter().copied().flatten().max().unwrap_or_default();
    let normalized = |sum: Option<i64>| match sum {
        None => 0,
        Some(_) if highest == 0 => MAX,
        Some(sum) => MAX * (highest + lowest - sum) / highest,
    };
    Some(sums.into_iter().map(normalized).collect())
}

/// The pods that count at each value of the label; only values that a node at choice has matter.
fn count(cluster: &ClusterState, wish: &Wish<'_>, nodes: &[&NodeInfo]) -> HashMap<String, i64> {
    let mut counts: HashMap<String, i64> =
        nodes.iter().filter_map(|node| node.label(wish.key)).map(|value| (value.to_owned(), 0)).collect();
    for node in cluster.nodes() {
        if let Some(count) = node.label(wish.key).and_then(|value| counts.get_mut(value)) {
            *count += (wish.count)(node).unwrap_or_default();
        }
    }
    counts
}
