//! `spec.activeDeadlineSeconds`: how long a pod may be on its node.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::backoff::later;
use super::memory::{Memory, PodVerdict};
use super::spec;

/// When the pod has been on the node for too long, if it has a limit.
pub fn instant(pod: &Pod, memory: &Memory) -> Option<Timestamp> {
    let seconds = spec::spec(pod).active_deadline_seconds?;
    let start = memory.durable.start_time?;
    Some(later(start, SignedDuration::from_secs(seconds)))
}

/// The verdict on a pod that is past its deadline.
pub fn verdict(pod: &Pod, memory: &Memory, now: Timestamp) -> Option<PodVerdict> {
    let passed = instant(pod, memory).is_some_and(|instant| instant <= now);
    passed.then(|| PodVerdict {
        reason: "DeadlineExceeded".to_owned(),
        message: "Pod was active on the node longer than the specified deadline".to_owned(),
        grace: None,
    })
}
