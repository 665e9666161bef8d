//! What to do next about one ReplicaSet: make pods, delete pods, or neither; and the status that follows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;

use super::rank::{self, Colocated};
use crate::{meta, pods};

/// More pods than this are not made or deleted in one go.
pub const BURST: usize = 500;

const REPLICA_FAILURE: &str = "ReplicaFailure";

/// The change of the number of pods.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

pub fn wanted(set: &ReplicaSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

fn min_ready_seconds(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
}

/// Plans the change, if the number of active pods is not what it should be. `pods` are all pods that the ReplicaSet
/// controls, `colocated` counts the pods of the whole workload by node.
pub fn plan(set: &ReplicaSet, pods: &[Arc<Pod>], colocated: &Colocated, now: Timestamp) -> Option<Change> {
    if set.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let mut active: Vec<Arc<Pod>> = pods.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let wanted = wanted(set);
    match active.len() {
        there if there < wanted => Some(Change::Create((wanted - there).min(BURST))),
        there if there > wanted => {
            rank::sort(&mut active, colocated, now);
            active.truncate((there - wanted).min(BURST));
            Some(Change::Delete(active))
        }
        _ => None,
    }
}

/// The sizes of slow-start batches: one, then twice as many each time. A failing first pod costs one request and not
/// hundreds.
pub fn batches(count: usize) -> impl Iterator<Item = usize> {
    let mut left = count;
    let mut size = 1;
    std::iter::from_fn(move || {
        let batch = size.min(left);
        left -= batch;
        size *= 2;
        (batch > 0).then_some(batch)
    })
}

/// The status by the pods as they are. `failure` is why the last change did not go through, if it did not.
pub fn status(set: &ReplicaSet, pods: &[Arc<Pod>], failure: Option<&str>, now: Timestamp) -> ReplicaSetStatus {
    let before = set.status.clone().unwrap_or_default();
    let min_ready = min_ready_seconds(set);
    let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    let template_labels = template.and_then(|template| template.metadata.as_ref()?.labels.as_ref());
    let active: Vec<&Arc<Pod>> = pods.iter().filter(|pod| pods::is_active(pod)).collect();
    let count = |judge: &dyn Fn(&Pod) -> bool| active.iter().filter(|pod| judge(pod)).count();
    let mut status = ReplicaSetStatus {
        replicas: number(active.len()),
        fully_labeled_replicas: present(count(&|pod| carries(pod, template_labels))),
        ready_replicas: present(count(&pods::is_ready)),
        available_replicas: present(count(&|pod| pods::is_available(pod, min_ready, now))),
        terminating_replicas: Some(number(pods.iter().filter(|pod| pods::is_terminating(pod)).count())),
        observed_generation: Some(meta::generation(&set.metadata)),
        conditions: before.conditions,
    };
    note_failure(&mut status, failure, active.len() < wanted(set), now);
    status
}

/// The status while orders are outstanding: counts anew, conditions as they were.
pub fn status_unjudged(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> ReplicaSetStatus {
    let conditions = set.status.as_ref().and_then(|status| status.conditions.clone());
    ReplicaSetStatus { conditions, ..status(set, pods, None, now) }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn present(count: usize) -> Option<i32> {
    Some(number(count)).filter(|count| *count != 0)
}

fn carries(pod: &Pod, labels: Option<&BTreeMap<String, String>>) -> bool {
    let of_pod = pod.metadata.labels.as_ref();
    labels.into_iter().flatten().all(|(key, value)| of_pod.and_then(|labels| labels.get(key)) == Some(value))
}

fn note_failure(status: &mut ReplicaSetStatus, failure: Option<&str>, creating: bool, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    let noted = conditions.iter().any(|one| one.type_ == REPLICA_FAILURE);
    match failure {
        Some(message) if !noted => conditions.push(ReplicaSetCondition {
            type_: REPLICA_FAILURE.to_owned(),
            status: "True".to_owned(),
            reason: Some(if creating { "FailedCreate" } else { "FailedDelete" }.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(meta::time(now)),
        }),
        None if noted => conditions.retain(|one| one.type_ != REPLICA_FAILURE),
        _ => {}
    }
    if conditions.is_empty() {
        status.conditions = None;
    }
}

/// When a ready pod will count as available, if nothing else happens before.
pub fn look_again(set: &ReplicaSet, pods: &[Arc<Pod>], now: Timestamp) -> Option<Duration> {
    let min_ready = min_ready_seconds(set);
    pods.iter()
        .filter(|pod| pods::is_active(pod))
        .filter_map(|pod| pods::until_available(pod, min_ready, now))
        .filter(|rest| !rest.is_zero())
        .min()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Sketch, now, replica_set};
    use super::*;

    fn running(name: &str) -> Sketch {
        Sketch::new(name).node("n1").phase("Running")
    }

    #[test]
    fn changes() {
        let three = || vec![running("a").pod(), running("b").pod(), running("c").pod()];
        let cases = [
            (3, three(), None),
            (5, three(), Some(Change::Create(2))),
            (5000, three(), Some(Change::Create(BURST))),
            (0, vec![], None),
            // What ended or leaves is no replica.
            (1, vec![running("a").phase("Failed").pod()], Some(Change::Create(1))),
            (1, vec![running("a").leaving().pod()], Some(Change::Create(1))),
        ];
        for (wanted, pods, expected) in cases {
            let planned = plan(&replica_set(wanted, 0), &pods, &Colocated::new(), now());
            assert_eq!(planned, expected, "{wanted} of {}", pods.len());
        }
    }

    #[test]
    fn the_cheapest_pods_go() {
        let pods =
            vec![running("ready").ready_for(100).pod(), running("unready").pod(), Sketch::new("unassigned").pod()];
        let Some(Change::Delete(gone)) = plan(&replica_set(1, 0), &pods, &Colocated::new(), now()) else {
            panic!("nothing is deleted");
        };
        let names: Vec<_> = gone.iter().map(|pod| meta::name(&pod.metadata)).collect();
        assert_eq!(names, ["unassigned", "unready"]);
    }

    #[test]
    fn a_set_that_leaves_changes_nothing() {
        let mut set = replica_set(3, 0);
        set.metadata.deletion_timestamp = Some(meta::time(now()));
        assert_eq!(plan(&set, &[], &Colocated::new(), now()), None);
    }

    #[test]
    fn batches_double() {
        let cases: [(usize, &[usize]); 5] =
            [(0, &[]), (1, &[1]), (3, &[1, 2]), (10, &[1, 2, 4, 3]), (500, &[1, 2, 4, 8, 16, 32, 64, 128, 245])];
        for (count, expected) in cases {
            assert_eq!(batches(count).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn counts_of_the_status() {
        let pods = vec![
            running("available").ready_for(60).label("tier", "front").pod(),
            running("ready").ready_for(10).pod(),
            running("running").pod(),
            running("leaving").ready_for(60).leaving().pod(),
            running("ended").phase("Succeeded").pod(),
        ];
        let set = replica_set(3, 30);
        let status = status(&set, &pods, None, now());
        assert_eq!(status.replicas, 3);
        assert_eq!(status.fully_labeled_replicas, Some(3));
        assert_eq!(status.ready_replicas, Some(2));
        assert_eq!(status.available_replicas, Some(1));
        assert_eq!(status.terminating_replicas, Some(1));
        assert_eq!(status.observed_generation, Some(3));
        assert_eq!(status.conditions, None);
        assert_eq!(look_again(&set, &pods, now()), Some(Duration::from_secs(20)));
        assert_eq!(look_again(&replica_set(3, 0), &pods, now()), None);
    }

    #[test]
    fn failures_come_and_go() {
        let mut set = replica_set(3, 0);
        let failed = status(&set, &[], Some("quota exceeded"), now());
        let condition = &failed.conditions.as_ref().expect("a condition")[0];
        assert_eq!(condition.reason.as_deref(), Some("FailedCreate"));
        assert_eq!(condition.message.as_deref(), Some("quota exceeded"));
        set.status = Some(failed.clone());
        // A failure that goes on keeps its first words.
        assert_eq!(status(&set, &[], Some("other words"), now()), failed);
        assert_eq!(status(&set, &[], None, now()).conditions, None);
    }
}
