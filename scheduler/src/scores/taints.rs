//! Nodes that would rather not have the pod.

use crate::cluster::{NodeInfo, PodInfo};
use crate::filters::tolerates;

/// The taints of effect PreferNoSchedule that the pod does not tolerate.
pub(super) fn intolerable(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
    let soft = node.taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
    i64::try_from(soft.filter(|taint| !tolerates(tolerations, taint)).count()).unwrap_or(i64::MAX)
}
