//! The difference between two statuses as a strategic merge patch.
//!
//! Only what changed is sent, and of the conditions only those that changed: others write to the same status.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

/// The patch that turns `known` into `wanted`; `None` when there is nothing to say.
pub fn patch(uid: &str, known: &PodStatus, wanted: &PodStatus) -> Option<Value> {
    let known = fields(known);
    let wanted = fields(wanted);
    let mut status = Map::new();
    for (name, value) in &wanted {
        let before = known.get(name);
        if before == Some(value) {
            continue;
        }
        let change = match name.as_str() {
            "conditions" => keyed("type", before, value, false),
            "podIPs" | "hostIPs" => keyed("ip", before, value, true),
            _ => value.clone(),
        };
        status.insert(name.clone(), change);
    }
    for name in known.keys().filter(|name| !wanted.contains_key(*name) && !is_others(name)) {
        status.insert(name.clone(), Value::Null);
    }
    (!status.is_empty()).then(|| json!({"metadata": {"uid": uid}, "status": status}))
}

/// Fields that the agent never writes, and so never takes away.
fn is_others(name: &str) -> bool {
    matches!(name, "nominatedNodeName" | "resourceClaimStatuses" | "resize" | "ephemeralContainerStatuses")
}

fn fields(status: &PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        // A status is a struct of plain data: it is always written as an object.
        _ => Map::new(),
    }
}

/// The entries of a list that is merged by `key`: those that changed, and if `prune`, the removal of those that went.
fn keyed(key: &str, before: Option<&Value>, after: &Value, prune: bool) -> Value {
    let empty = Vec::new();
    let before = before.and_then(Value::as_array).unwrap_or(&empty);
    let after = after.as_array().unwrap_or(&empty);
    let mut changes: Vec<Value> = after.iter().filter(|entry| !before.contains(entry)).cloned().collect();
    if prune {
        for gone in before.iter().filter(|old| !after.iter().any(|new| new.get(key) == old.get(key))) {
            changes.push(json!({"$patch": "delete", key: gone.get(key)}));
        }
    }
    for change in &mut changes {
        // A reason or message that ended has to be taken out of the stored entry.
        let old = before.iter().find(|old| old.get(key) == change.get(key)).and_then(Value::as_object);
        let Some(fields) = change.as_object_mut() else { continue };
        for name in old.into_iter().flat_map(Map::keys) {
            if !fields.contains_key(name) && !fields.contains_key("$patch") {
                fields.insert(name.clone(), Value::Null);
            }
        }
    }
    Value::Array(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn only_the_difference_is_sent() {
        let known = status(json!({"phase": "Pending", "reason": "X", "podIPs": [{"ip": "10.0.0.1"}],
            "nominatedNodeName": "n", "qosClass": "Burstable",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "False", "reason": "R"}]}));
        let wanted = status(json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.2"}], "qosClass": "Burstable",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}]}));
        let want = json!({"metadata": {"uid": "u"}, "status": {
            "phase": "Running",
            "reason": null,
            "podIPs": [{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True", "reason": null}]}});
        assert_eq!(patch("u", &known, &wanted), Some(want));
        assert_eq!(patch("u", &wanted, &wanted.clone()), None);
    }
}
