//! Preemption: which pods of lower priority would have to go for a pod that fits nowhere.
//!
//! Pure: it names a node and the victims, or says why there are none. Disruption budgets are not looked at yet, and
//! only rejections that the node alone can resolve (resources, ports) are.

use std::cmp::Reverse;
use std::sync::Arc;

use jiff::Timestamp;

use crate::cluster::{ClusterState, NodeInfo, PodInfo};
use crate::decide::{Unfit, histogram};
use crate::filters::{self, looks_elsewhere};

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// A node on which room can be made.
#[derive(Debug)]
pub struct Candidate {
    pub node: String,
    /// The most important first.
    pub victims: Vec<Arc<PodInfo>>,
}

/// The best candidate, or the reason why there is none in upstream's words.
pub fn preempt(cluster: &ClusterState, pod: &PodInfo, unfit: &Unfit) -> Result<Candidate, String> {
    if !pod.can_preempt() {
        return Err("not eligible due to preemptionPolicy=Never.".to_owned());
    }
    if waits_for_victims(cluster, pod) {
        return Err("not eligible due to a terminating pod on the nominated node.".to_owned());
    }
    let mut candidates = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    for (name, rejection) in &unfit.rejections {
        let node = cluster.node(name).filter(|_| rejection.resolvable);
        let Some(node) = node else { continue };
        if looks_elsewhere(rejection.plugin) {
            reasons.push(NO_VICTIMS.to_owned());
            continue;
        }
        match victims(pod, node) {
            Ok(victims) => candidates.push(Candidate { node: name.clone(), victims }),
            Err(why) => reasons.extend(why),
        }
    }
    let judged = unfit.rejections.iter().filter(|(_, rejection)| rejection.resolvable).count();
    reasons.extend((judged..unfit.nodes).map(|_| NOT_HELPFUL.to_owned()));
    let best = candidates.into_iter().min_by_key(rank);
    best.ok_or_else(|| histogram(unfit.nodes, reasons.iter().map(String::as_str)))
}

/// The pod was promised a node, and pods of lower priority are leaving it.
fn waits_for_victims(cluster: &ClusterState, pod: &PodInfo) -> bool {
    let nominated = pod.pod.status.nominated_node_name.as_deref();
    let node = nominated.and_then(|name| cluster.node(name));
    node.is_some_and(|node| node.pods.values().any(|other| other.is_terminating() && other.priority < pod.priority))
}

fn started(pod: &PodInfo) -> Timestamp {
    pod.pod.status.start_time.as_ref().map_or(Timestamp::MAX, |time| time.0)
}

/// The fewest pods that must leave the node, or what the node lacks even without any pod of lower priority.
fn victims(pod: &PodInfo, node: &NodeInfo) -> Result<Vec<Arc<PodInfo>>, Vec<String>> {
    let mut lower: Vec<Arc<PodInfo>> =
        node.pods.values().filter(|other| other.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return Err(vec![NO_VICTIMS.to_owned()]);
    }
    let mut emptied = node.without(lower.iter().map(|other| &other.key));
    filters::local(pod, &emptied).map_err(|rejection| rejection.reasons)?;
    // The most important ones, and of equals those that run longest, are let stay first.
    lower.sort_by_key(|other| (Reverse(other.priority), started(other)));
    let mut victims = Vec::new();
    for other in lower {
        emptied.add_pod(other.clone());
        if filters::local(pod, &emptied).is_err() {
            emptied.remove_pod(&other.key);
            victims.push(other);
        }
    }
    Ok(victims)
}

/// Upstream's preferences, the lowest first: the least important worst victim, the least important victims together,
/// the fewest, and those that started last.
fn rank(candidate: &Candidate) -> (i32, i64, usize, Reverse<Timestamp>) {
    let worst = candidate.victims.iter().map(|victim| victim.priority).max().unwrap_or(i32::MIN);
    // Shifted to be positive, so that more victims never weigh less.
    let sum = candidate.victims.iter().map(|victim| i64::from(victim.priority) + i64::from(i32::MAX) + 1).sum();
    let of_worst = candidate.victims.iter().filter(|victim| victim.priority == worst);
    let earliest = of_worst.map(|victim| started(victim)).min().unwrap_or(Timestamp::MAX);
    (worst, sum, candidate.victims.len(), Reverse(earliest))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::decide::decide;
    use crate::testing::{cluster, node, place, pod};

    fn prioritized(name: &str, priority: i32, cpu: &str) -> Arc<PodInfo> {
        let containers = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
        pod(name, json!({"priority": priority, "containers": containers}))
    }

    fn outcome(cluster: &ClusterState, pod: &PodInfo) -> Result<(String, Vec<String>), String> {
        let unfit = decide(cluster, pod, 0, |_| 0).unwrap_err();
        let candidate = preempt(cluster, pod, &unfit)?;
        Ok((candidate.node, candidate.victims.iter().map(|victim| victim.key.name.to_string()).collect()))
    }

    #[test]
    fn the_least_important_pods_go_and_no_more_than_needed() {
        let mut cluster = cluster(&["a", "b"]);
        place(&mut cluster, &prioritized("a1", 5, "2"), "a");
        place(&mut cluster, &prioritized("a2", 1, "2"), "a");
        place(&mut cluster, &prioritized("b1", 7, "4"), "b");
        assert_eq!(outcome(&cluster, &prioritized("p", 10, "2")).unwrap(), ("a".to_owned(), vec!["a2".to_owned()]));
        assert_eq!(
            outcome(&cluster, &prioritized("p", 10, "4")).unwrap(),
            ("a".to_owned(), vec!["a1".to_owned(), "a2".to_owned()])
        );
    }

    #[test]
    fn what_cannot_be_helped_is_said_node_by_node() {
        let mut cluster = cluster(&["a"]);
        place(&mut cluster, &prioritized("a1", 10, "3"), "a");
        cluster.set_node(node("t", "4", json!({}), json!({"taints": [{"key": "k", "effect": "NoSchedule"}]})));
        assert_eq!(
            outcome(&cluster, &prioritized("p", 10, "2")).unwrap_err(),
            "0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
        );
        let polite = pod(
            "p",
            json!({"priority": 20, "preemptionPolicy": "Never",
            "containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}),
        );
        assert_eq!(outcome(&cluster, &polite).unwrap_err(), "not eligible due to preemptionPolicy=Never.");
    }

    #[test]
    fn the_room_made_is_kept_from_the_less_important() {
        let mut cluster = cluster(&["a"]);
        cluster.nominate(prioritized("urgent", 10, "3"), "a");
        assert!(decide(&cluster, &prioritized("p", 5, "2"), 0, |_| 0).is_err());
        assert!(decide(&cluster, &prioritized("p", 20, "2"), 0, |_| 0).is_ok());
    }
}
