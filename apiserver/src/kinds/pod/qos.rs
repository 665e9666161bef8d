//! A pod's quality of service, from its requests and limits. It is decided once, at creation.

use serde_json::Value;

use crate::kinds::fields::Fields;
use crate::kinds::validation::quantity_of;

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// Guaranteed when every container limits cpu and memory and requests just that, BestEffort when nothing is asked for,
/// otherwise Burstable.
pub fn class(spec: &Value) -> &'static str {
    let pod_level = spec.sub("resources");
    if asks_for_anything(pod_level) {
        return if is_guaranteed(pod_level) { "Guaranteed" } else { "Burstable" };
    }
    let containers = || spec.items("containers").iter().chain(spec.items("initContainers"));
    if !containers().any(|container| asks_for_anything(container.sub("resources"))) {
        "BestEffort"
    } else if containers().all(|container| is_guaranteed(container.sub("resources"))) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn amount(resources: &Value, list: &str, name: &str) -> Option<keelson_objects::quantity::Quantity> {
    quantity_of(resources.sub(list).sub(name)).filter(|amount| !amount.is_zero())
}

fn asks_for_anything(resources: &Value) -> bool {
    COUNTED.iter().any(|name| ["requests", "limits"].iter().any(|list| amount(resources, list, name).is_some()))
}

fn is_guaranteed(resources: &Value) -> bool {
    COUNTED.iter().all(|name| {
        let limit = amount(resources, "limits", name);
        limit.is_some() && amount(resources, "requests", name) == limit
    })
}

#[cfg(test)]
mod tests {
    use super::class;
    use serde_json::json;

    #[test]
    fn the_class_follows_from_requests_and_limits() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1Gi"}});
        let table = [
            (json!([{"resources": {}}]), "BestEffort"),
            (json!([{"resources": full}]), "Guaranteed"),
            (json!([{"resources": full}, {"resources": {}}]), "Burstable"),
            (json!([{"resources": {"requests": {"cpu": "1"}}}]), "Burstable"),
            (json!([{"resources": {"requests": {"cpu": "0"}}}]), "BestEffort"),
        ];
        for (containers, expected) in table {
            assert_eq!(class(&json!({"containers": containers})), expected, "{containers}");
        }
    }
}
