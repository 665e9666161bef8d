//! A cordoned node takes only pods that tolerate it.

use k8s_openapi::api::core::v1::Taint;

use super::{Plugin, Rejection, tolerates};
use crate::cluster::{NodeInfo, PodInfo};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if !node.is_unschedulable() {
        return Ok(());
    }
    let cordon = Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    };
    if tolerates(pod.spec().tolerations.as_deref().unwrap_or_default(), &cordon) {
        return Ok(());
    }
    Err(Rejection::new(Plugin::NodeUnschedulable, "node(s) were unschedulable", false))
}
