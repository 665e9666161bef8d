//! The taints that follow from a node's conditions.
//!
//! NoSchedule taints follow at once. NoExecute taints evict pods, so whether a new one may be set is the caller's
//! decision (see `zones`); taking one back is always allowed.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Taint};

use super::health;
use crate::meta;

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Condition, status, and the key of the taint that this means.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

const NO_SCHEDULE: &str = "NoSchedule";
pub const NO_EXECUTE: &str = "NoExecute";

pub fn all(node: &Node) -> &[Taint] {
    node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
}

/// The key of the NoExecute taint that the node's Ready condition calls for.
pub fn evicting(node: &Node) -> Option<&'static str> {
    match health::ready(node) {
        Some("False") => Some(NOT_READY),
        Some("Unknown") => Some(UNREACHABLE),
        _ => None,
    }
}

/// Whether the node carries one of the NoExecute taints of this controller.
pub fn is_evicting(node: &Node) -> bool {
    all(node).iter().any(is_ours_evicting)
}

fn is_ours_evicting(taint: &Taint) -> bool {
    taint.effect == NO_EXECUTE && (taint.key == NOT_READY || taint.key == UNREACHABLE)
}

fn is_ours(taint: &Taint) -> bool {
    let by_condition = BY_CONDITION.iter().any(|(_, _, key)| *key == taint.key);
    (taint.effect == NO_SCHEDULE && (by_condition || taint.key == UNSCHEDULABLE)) || is_ours_evicting(taint)
}

/// What is to become of the node's NoExecute taints.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Eviction {
    /// As the Ready condition says.
    Follow,
    /// None may be added now; one that is there may change its key.
    Hold,
    /// There shall be none.
    Lift,
}

/// The node's taints as they should be, if they are not so already. Taints of others are kept in their order.
pub fn plan(node: &Node, eviction: Eviction, now: Timestamp) -> Option<Vec<Taint>> {
    let present = all(node);
    let mut wanted: Vec<Taint> = present.iter().filter(|taint| !is_ours(taint)).cloned().collect();
    // A node that has not reported yet keeps the taint that it was admitted with.
    let admitted = present.iter().find(|taint| taint.key == NOT_READY && taint.effect == NO_SCHEDULE);
    if let Some(taint) = admitted.filter(|_| health::ready(node).is_none()) {
        wanted.push(taint.clone());
    }
    let mut want = |key: &str, effect: &str| {
        let kept = present.iter().find(|taint| taint.key == key && taint.effect == effect);
        let fresh =
            || Taint { key: key.to_owned(), effect: effect.to_owned(), time_added: Some(meta::time(now)), value: None };
        wanted.push(kept.cloned().unwrap_or_else(fresh));
    };
    if node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true) {
        want(UNSCHEDULABLE, NO_SCHEDULE);
    }
    for (kind, status, key) in BY_CONDITION {
        if health::condition(node, kind).is_some_and(|condition| condition.status == status) {
            want(key, NO_SCHEDULE);
        }
    }
    let may_evict = match eviction {
        Eviction::Follow => true,
        Eviction::Hold => is_evicting(node),
        Eviction::Lift => false,
    };
    if let Some(key) = evicting(node).filter(|_| may_evict) {
        want(key, NO_EXECUTE);
    }
    let same = present.len() == wanted.len() && wanted.iter().all(|taint| present.contains(taint));
    (!same).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NodeCondition, NodeSpec, NodeStatus};

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a time within range")
    }

    fn node(conditions: &[(&str, &str)], taints: &[(&str, &str)]) -> Node {
        let condition = |(kind, status): &(&str, &str)| NodeCondition {
            type_: (*kind).into(),
            status: (*status).into(),
            ..Default::default()
        };
        let taint =
            |(key, effect): &(&str, &str)| Taint { key: (*key).into(), effect: (*effect).into(), ..Default::default() };
        Node {
            spec: Some(NodeSpec { taints: Some(taints.iter().map(taint).collect()), ..Default::default() }),
            status: Some(NodeStatus {
                conditions: Some(conditions.iter().map(condition).collect()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn taints_follow_conditions() {
        use Eviction::{Follow, Hold, Lift};
        type Pairs = &'static [(&'static str, &'static str)];
        const NOT_READY_BOTH: Pairs = &[(NOT_READY, NO_SCHEDULE), (NOT_READY, NO_EXECUTE)];
        const UNREACHABLE_BOTH: Pairs = &[(UNREACHABLE, NO_SCHEDULE), (UNREACHABLE, NO_EXECUTE)];
        const OTHERS: Pairs = &[("dedicated", NO_SCHEDULE)];
        let cases: [(Pairs, Pairs, Eviction, Option<Pairs>); 9] = [
            (&[("Ready", "True")], &[], Follow, None),
            (&[("Ready", "True")], NOT_READY_BOTH, Follow, Some(&[])),
            (&[("Ready", "False")], &[], Follow, Some(NOT_READY_BOTH)),
            (&[("Ready", "Unknown")], NOT_READY_BOTH, Follow, Some(UNREACHABLE_BOTH)),
            (&[("Ready", "Unknown")], UNREACHABLE_BOTH, Follow, None),
            (&[("Ready", "Unknown")], &[], Hold, Some(&[(UNREACHABLE, NO_SCHEDULE)])),
            (&[("Ready", "Unknown")], UNREACHABLE_BOTH, Lift, Some(&[(UNREACHABLE, NO_SCHEDULE)])),
            (&[("Ready", "True"), ("DiskPressure", "False")], OTHERS, Follow, None),
            (
                &[("Ready", "True"), ("DiskPressure", "True")],
                OTHERS,
                Follow,
                Some(&[("dedicated", NO_SCHEDULE), ("node.kubernetes.io/disk-pressure", NO_SCHEDULE)]),
            ),
        ];
        for (conditions, taints, eviction, expected) in cases {
            let planned = plan(&node(conditions, taints), eviction, now());
            let planned: Option<Vec<(&str, &str)>> = planned
                .as_ref()
                .map(|taints| taints.iter().map(|taint| (taint.key.as_str(), taint.effect.as_str())).collect());
            assert_eq!(planned.as_deref(), expected, "{conditions:?} {taints:?} {eviction:?}");
        }
    }

    #[test]
    fn a_node_that_has_not_reported_stays_closed() {
        assert_eq!(plan(&node(&[], &[(NOT_READY, NO_SCHEDULE)]), Eviction::Follow, now()), None);
    }

    #[test]
    fn a_cordoned_node_is_tainted() {
        let mut cordoned = node(&[("Ready", "True")], &[]);
        cordoned.spec.as_mut().expect("a spec").unschedulable = Some(true);
        let taints = plan(&cordoned, Eviction::Follow, now()).expect("a change");
        assert_eq!((taints[0].key.as_str(), taints[0].effect.as_str()), (UNSCHEDULABLE, NO_SCHEDULE));
        assert!(taints[0].time_added.is_some());
    }
}
