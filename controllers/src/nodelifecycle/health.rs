//! Is a node alive? Judged by when its heartbeat was last *seen to change*, on this process' clock: the node's own
//! clock may be anything.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

use crate::meta;

/// The conditions that nobody but the node's agent can know.
const REPORTED_BY_AGENT: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// How long a silent node still counts as alive.
#[derive(Clone, Copy, Debug)]
pub struct Grace {
    /// For a node that has reported before.
    pub monitor: Duration,
    /// For a node that has never reported.
    pub startup: Duration,
}

/// What was last seen of a node's heartbeat, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    reported: Option<Time>,
    renewed: Option<MicroTime>,
    seen: Timestamp,
}

/// The judgement on one node.
#[derive(Debug)]
pub struct Verdict {
    pub heartbeat: Heartbeat,
    /// The conditions to write, if silence changed them.
    pub conditions: Option<Vec<NodeCondition>>,
    /// When the silence will have lasted too long, if the node stays silent.
    pub look_again: Option<Duration>,
}

pub fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|one| one.type_ == kind)
}

/// The status of the Ready condition; nothing when the node never reported.
pub fn ready(node: &Node) -> Option<&str> {
    condition(node, "Ready").map(|condition| condition.status.as_str())
}

/// Judges a node by its conditions and its lease, and by what was remembered from the judgement before.
pub fn judge(node: &Node, lease: Option<&Lease>, before: Option<&Heartbeat>, grace: Grace, now: Timestamp) -> Verdict {
    let ready = condition(node, "Ready");
    let reported = ready.and_then(|condition| condition.last_heartbeat_time.clone());
    let renewed = lease.and_then(|lease| lease.spec.as_ref()?.renew_time.clone());
    let never_reported = ready.is_none();
    let seen = match before {
        None if never_reported && renewed.is_none() => meta::created(&node.metadata).min(now),
        Some(before) if before.reported == reported && before.renewed == renewed => before.seen,
        _ => now,
    };
    let heartbeat = Heartbeat { reported, renewed, seen };
    let patience = if never_reported { grace.startup } else { grace.monitor };
    let silent = Duration::try_from(now.duration_since(seen)).unwrap_or(Duration::ZERO);
    if silent <= patience {
        let look_again = Some(patience - silent + Duration::from_millis(100));
        return Verdict { heartbeat, conditions: None, look_again };
    }
    Verdict { heartbeat, conditions: silence(node, now), look_again: None }
}

/// The node's conditions once it has been silent for too long.
fn silence(node: &Node, now: Timestamp) -> Option<Vec<NodeCondition>> {
    let mut conditions = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let mut changed = false;
    for kind in REPORTED_BY_AGENT {
        let present = conditions.iter_mut().find(|one| one.type_ == kind);
        match present {
            None => conditions.push(NodeCondition {
                type_: kind.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some("NodeStatusNeverUpdated".to_owned()),
                message: Some("Kubelet never posted node status.".to_owned()),
                last_heartbeat_time: node.metadata.creation_timestamp.clone(),
                last_transition_time: Some(meta::time(now)),
            }),
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".to_owned();
                condition.reason = Some("NodeStatusUnknown".to_owned());
                condition.message = Some("Kubelet stopped posting node status.".to_owned());
                condition.last_transition_time = Some(meta::time(now));
            }
            Some(_) => continue,
        }
        changed = true;
    }
    changed.then_some(conditions)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::coordination::v1::LeaseSpec;
    use k8s_openapi::api::core::v1::NodeStatus;

    use super::*;

    const GRACE: Grace = Grace { monitor: Duration::from_secs(50), startup: Duration::from_secs(60) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).expect("a time within range")
    }

    fn node(ready: Option<(&str, i64)>) -> Node {
        let mut node = Node::default();
        node.metadata.creation_timestamp = Some(Time(at(0)));
        let conditions = ready.map(|(status, heartbeat)| {
            vec![NodeCondition {
                type_: "Ready".into(),
                status: status.into(),
                last_heartbeat_time: Some(Time(at(heartbeat))),
                ..Default::default()
            }]
        });
        node.status = Some(NodeStatus { conditions, ..Default::default() });
        node
    }

    fn lease(renewed: i64) -> Lease {
        let spec = LeaseSpec { renew_time: Some(MicroTime(at(renewed))), ..Default::default() };
        Lease { spec: Some(spec), ..Default::default() }
    }

    #[test]
    fn silence_is_measured_from_the_last_change_seen() {
        let node = node(Some(("True", 0)));
        let first = judge(&node, Some(&lease(0)), None, GRACE, at(1000));
        assert!(first.conditions.is_none());
        let kept = judge(&node, Some(&lease(0)), Some(&first.heartbeat), GRACE, at(1050));
        assert!(kept.conditions.is_none());
        let renewed = judge(&node, Some(&lease(10)), Some(&kept.heartbeat), GRACE, at(1051));
        assert!(renewed.conditions.is_none());
        let silent = judge(&node, Some(&lease(10)), Some(&renewed.heartbeat), GRACE, at(1102));
        let conditions = silent.conditions.expect("changed conditions");
        assert_eq!(conditions.len(), 4);
        assert_eq!(conditions[0].status, "Unknown");
        assert_eq!(conditions[0].reason.as_deref(), Some("NodeStatusUnknown"));
        assert_eq!(conditions[0].message.as_deref(), Some("Kubelet stopped posting node status."));
        assert_eq!(conditions[1].reason.as_deref(), Some("NodeStatusNeverUpdated"));
    }

    #[test]
    fn a_node_that_never_reported_has_the_startup_grace() {
        let early = judge(&node(None), None, None, GRACE, at(59));
        assert!(early.conditions.is_none());
        assert_eq!(early.look_again, Some(Duration::from_millis(1100)));
        let late = judge(&node(None), None, Some(&early.heartbeat), GRACE, at(61));
        let conditions = late.conditions.expect("changed conditions");
        assert!(conditions.iter().all(|one| one.reason.as_deref() == Some("NodeStatusNeverUpdated")));
    }

    #[test]
    fn silence_is_written_once() {
        let mut silent = node(Some(("True", 0)));
        let first = judge(&silent, None, None, GRACE, at(0));
        let verdict = judge(&silent, None, Some(&first.heartbeat), GRACE, at(100));
        silent.status.as_mut().expect("a status").conditions = verdict.conditions;
        let again = judge(&silent, None, Some(&verdict.heartbeat), GRACE, at(200));
        assert!(again.conditions.is_none());
    }
}
