//! Taints keep pods away that do not tolerate them.

use k8s_openapi::api::core::v1::{Taint, Toleration};

use super::{Plugin, Rejection};
use crate::cluster::{NodeInfo, PodInfo};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
    let repels = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    match node.taints().iter().filter(repels).any(|taint| !tolerates(tolerations, taint)) {
        true => Err(Rejection::new(Plugin::TaintToleration, "node(s) had untolerated taint(s)", false)),
        false => Ok(()),
    }
}

/// Whether one of the tolerations covers the taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let same = |wanted: &Option<String>, present: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted.is_empty() || wanted == present)
        };
        let value = toleration.value.as_deref().unwrap_or_default();
        let present = taint.value.as_deref().unwrap_or_default();
        same(&toleration.effect, &taint.effect)
            && same(&toleration.key, &taint.key)
            && match toleration.operator.as_deref().unwrap_or_default() {
                "" | "Equal" => value == present,
                "Exists" => true,
                "Lt" => numbers(present, value).is_some_and(|(present, limit)| present < limit),
                "Gt" => numbers(present, value).is_some_and(|(present, limit)| present > limit),
                _ => false,
            }
    })
}

/// Numeric tolerations compare the taint's value with their own (KEP-5471).
fn numbers(present: &str, limit: &str) -> Option<(i64, i64)> {
    Some((present.parse().ok()?, limit.parse().ok()?))
}
