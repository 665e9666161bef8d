//! Terms of affinity between pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodAffinityTerm, WeightedPodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use keelson_objects::selector::label::Selector;

use super::{Pod, PodInfo};

type Labels = BTreeMap<String, String>;

/// A term with its selectors parsed.
#[derive(Clone, Debug)]
pub struct AffinityTerm {
    pub topology_key: String,
    selector: Selector,
    namespaces: Vec<String>,
    namespace_selector: Selector,
}

#[derive(Clone, Debug)]
pub struct WeightedTerm {
    pub weight: i64,
    pub term: AffinityTerm,
}

/// The object form of a selector; an absent or unreadable one selects nothing.
pub(super) fn selector(selector: Option<&LabelSelector>) -> Selector {
    let Some(selector) = selector else { return Selector::nothing() };
    let expressions = selector.match_expressions.iter().flatten().map(|expression| {
        let values = expression.values.as_deref().unwrap_or_default();
        (expression.key.as_str(), expression.operator.as_str(), values)
    });
    Selector::from_parts(selector.match_labels.iter().flatten(), expressions).unwrap_or_else(|_| Selector::nothing())
}

impl AffinityTerm {
    pub(super) fn new(pod: &Pod, term: &PodAffinityTerm) -> AffinityTerm {
        let mut namespaces = term.namespaces.clone().unwrap_or_default();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.extend(pod.metadata.namespace.clone());
        }
        AffinityTerm {
            topology_key: term.topology_key.clone(),
            selector: selector(term.label_selector.as_ref()),
            namespaces,
            namespace_selector: selector(term.namespace_selector.as_ref()),
        }
    }

    /// Whether the term means `pod`; `namespace_labels` are those of the pod's namespace.
    pub fn matches(&self, pod: &PodInfo, namespace_labels: Option<&Labels>) -> bool {
        let none = Labels::new();
        let in_namespace = self.namespaces.iter().any(|namespace| **namespace == *pod.key.namespace)
            || self.namespace_selector.matches(namespace_labels.unwrap_or(&none));
        in_namespace && self.selector.matches(pod.labels())
    }
}

pub(super) fn required(pod: &Pod, terms: Option<&Vec<PodAffinityTerm>>) -> Vec<AffinityTerm> {
    terms.into_iter().flatten().map(|term| AffinityTerm::new(pod, term)).collect()
}

pub(super) fn preferred(pod: &Pod, terms: Option<&Vec<WeightedPodAffinityTerm>>, sign: i64) -> Vec<WeightedTerm> {
    let weighted = |weighted: &WeightedPodAffinityTerm| WeightedTerm {
        weight: sign * i64::from(weighted.weight),
        term: AffinityTerm::new(pod, &weighted.pod_affinity_term),
    };
    terms.into_iter().flatten().map(weighted).collect()
}
