//! The decision for one pod: filter, score, choose. Pure, but for the dice that break ties.

use std::collections::BTreeSet;

use crate::cluster::{ClusterState, NodeInfo, PodInfo};
use crate::filters::{self, Plugin, Rejection};
use crate::scores;

/// Clusters smaller than this are always looked at whole.
const LOOK_AT_LEAST: usize = 100;

/// Why a pod has no node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// The nodes that were looked at, with what they lack.
    pub rejections: Vec<(String, Rejection)>,
    pub nodes: usize,
}

impl Unfit {
    pub fn plugins(&self) -> BTreeSet<Plugin> {
        self.rejections.iter().map(|(_, rejection)| rejection.plugin).collect()
    }

    /// Upstream's text, without the part on preemption.
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let reasons = self.rejections.iter().flat_map(|(_, rejection)| &rejection.reasons);
        histogram(self.nodes, reasons.map(String::as_str))
    }
}

/// `0/3 nodes are available: 1 Insufficient cpu, 2 Too many pods.`: reasons counted, and sorted as texts.
pub fn histogram<'a>(nodes: usize, reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts = std::collections::BTreeMap::<&str, usize>::new();
    for reason in reasons {
        *counts.entry(reason).or_default() += 1;
    }
    let mut texts: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    texts.sort();
    match texts.is_empty() {
        true => format!("0/{nodes} nodes are available:"),
        false => format!("0/{nodes} nodes are available: {}.", texts.join(", ")),
    }
}

/// How many nodes that do are enough to choose from: of big clusters a share that falls from half to a twentieth.
pub fn enough(nodes: usize) -> usize {
    if nodes < LOOK_AT_LEAST {
        return nodes;
    }
    let percent = 50usize.saturating_sub(nodes / 125).max(5);
    (nodes * percent / 100).max(LOOK_AT_LEAST)
}

/// The best node for the pod. Looking begins at the node `start` (modulo their number), so that in big clusters all get
/// their turn; `dice(n)` chooses among n equals.
pub fn decide(
    cluster: &ClusterState,
    pod: &PodInfo,
    start: usize,
    mut dice: impl FnMut(usize) -> usize,
) -> Result<String, Unfit> {
    let nodes: Vec<&NodeInfo> = cluster.nodes().collect();
    let enough = enough(nodes.len());
    let prepared = filters::prepare(cluster, pod);
    let mut rejections = Vec::new();
    let mut feasible = Vec::new();
    for offset in 0..nodes.len() {
        let node = nodes[(start + offset) % nodes.len()];
        let crowded = cluster.with_nominated(node, pod);
        let verdict = match &crowded {
            Some(crowded) => filters::local(pod, crowded).and_then(|()| filters::filter(&prepared, pod, node)),
            None => filters::filter(&prepared, pod, node),
        };
        match verdict {
            Ok(()) => feasible.push(node),
            Err(rejection) => rejections.push((node.name().to_owned(), rejection)),
        }
        if feasible.len() >= enough {
            break;
        }
    }
    match feasible.as_slice() {
        [] => return Err(Unfit { rejections, nodes: nodes.len() }),
        [only] => return Ok(only.name().to_owned()),
        _ => {}
    }
    let scores = scores::score(cluster, pod, &feasible);
    let highest = scores.iter().copied().max().unwrap_or_default();
    let best: Vec<&&NodeInfo> =
        feasible.iter().zip(&scores).filter(|(_, score)| **score == highest).map(|(node, _)| node).collect();
    Ok(best[dice(best.len()) % best.len()].name().to_owned())
}

#[cfg(test)]
mod tests;
