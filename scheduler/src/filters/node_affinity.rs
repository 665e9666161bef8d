//! nodeSelector and required node affinity: labels and fields that the node must have.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};

use super::{Plugin, Rejection};
use crate::cluster::{NodeInfo, PodInfo};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    match matches(pod, node) {
        true => Ok(()),
        false => Err(Rejection::new(Plugin::NodeAffinity, "node(s) didn't match Pod's node affinity/selector", false)),
    }
}

pub(super) fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let spec = pod.spec();
    let mut labels = spec.node_selector.iter().flatten();
    if !labels.all(|(key, value)| node.label(key) == Some(value)) {
        return false;
    }
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| matches_term(term, node)))
}

/// A term without any requirement matches nothing.
pub fn matches_term(term: &NodeSelectorTerm, node: &NodeInfo) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let field = |requirement: &NodeSelectorRequirement| (requirement.key == "metadata.name").then(|| node.name());
    expressions.iter().all(|requirement| holds(requirement, node.label(&requirement.key)))
        && fields.iter().all(|requirement| holds(requirement, field(requirement)))
}

fn holds(requirement: &NodeSelectorRequirement, present: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |present: &str| values.iter().any(|value| value == present);
    let compare = |holds: fn(i64, i64) -> bool| {
        let present = present.and_then(|present| present.parse::<i64>().ok());
        let limit = values.first().and_then(|value| value.parse::<i64>().ok());
        present.zip(limit).is_some_and(|(present, limit)| holds(present, limit))
    };
    match requirement.operator.as_str() {
        "In" => present.is_some_and(listed),
        "NotIn" => !present.is_some_and(listed),
        "Exists" => present.is_some(),
        "DoesNotExist" => present.is_none(),
        "Gt" => compare(|present, limit| present > limit),
        "Lt" => compare(|present, limit| present < limit),
        _ => false,
    }
}
