//! Quality-of-service classes: Guaranteed, Burstable, BestEffort, from the requests and limits of a pod.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::spec;
use crate::resources::quantity_milli;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Guaranteed => "Guaranteed",
            Class::Burstable => "Burstable",
            Class::BestEffort => "BestEffort",
        }
    }
}

/// The class of a pod: what the API server recorded at creation, or else computed from its spec.
pub fn class(pod: &Pod) -> Class {
    match pod.status.as_ref().and_then(|status| status.qos_class.as_deref()) {
        Some("Guaranteed") => Class::Guaranteed,
        Some("Burstable") => Class::Burstable,
        Some("BestEffort") => Class::BestEffort,
        _ => compute(pod),
    }
}

fn compute(pod: &Pod) -> Class {
    let pod_level = spec::spec(pod).resources.as_ref();
    let containers: Vec<Option<&ResourceRequirements>> = match pod_level {
        Some(resources) if has_any(Some(resources)) => vec![Some(resources)],
        _ => spec::all_containers(pod).map(|(container, _)| container.resources.as_ref()).collect(),
    };
    if !containers.iter().any(|resources| has_any(*resources)) {
        return Class::BestEffort;
    }
    let guaranteed = containers.iter().all(|resources| ["cpu", "memory"].iter().all(|name| is_fixed(*resources, name)));
    if guaranteed { Class::Guaranteed } else { Class::Burstable }
}

fn amount(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> i64 {
    list.and_then(|list| list.get(name)).map_or(0, quantity_milli)
}

fn has_any(resources: Option<&ResourceRequirements>) -> bool {
    let Some(resources) = resources else { return false };
    ["cpu", "memory"]
        .iter()
        .any(|name| amount(resources.requests.as_ref(), name) > 0 || amount(resources.limits.as_ref(), name) > 0)
}

/// A limit is set, and the request (which defaults to the limit) equals it.
fn is_fixed(resources: Option<&ResourceRequirements>, name: &str) -> bool {
    let Some(resources) = resources else { return false };
    let limit = amount(resources.limits.as_ref(), name);
    let requested = resources.requests.as_ref().and_then(|requests| requests.get(name));
    limit > 0 && requested.is_none_or(|request| quantity_milli(request) == limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_follow_requests_and_limits() {
        let fixed = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        let table = [
            (json!([{}]), Class::BestEffort),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), Class::BestEffort),
            (json!([{"resources": {"requests": {"cpu": "1m"}}}]), Class::Burstable),
            (json!([{"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]), Class::Guaranteed),
            (json!([{"resources": fixed}]), Class::Guaranteed),
            (json!([{"resources": fixed}, {}]), Class::Burstable),
            (json!([{"resources": {"limits": {"memory": "1Gi"}}}]), Class::Burstable),
        ];
        for (mut containers, want) in table {
            for (index, container) in containers.as_array_mut().expect("a list").iter_mut().enumerate() {
                container["name"] = json!(format!("c{index}"));
            }
            let pod: Pod = serde_json::from_value(json!({"spec": {"containers": containers}})).expect("a pod");
            assert_eq!(class(&pod), want, "{containers}");
        }
    }
}
