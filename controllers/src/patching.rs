//! Patches as the difference between what was observed and what was decided.
//!
//! Only what a controller decided is written, so fields that this version does not know survive.

use keelson_client::Patch;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The merge patch (RFC 7396) that turns one value into the other; nothing if they are equal. Lists are replaced whole.
pub fn difference(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (before, after) else {
        return Some(after.clone());
    };
    let mut patch = Map::new();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    for (name, value) in after {
        match before.get(name) {
            None => {
                patch.insert(name.clone(), value.clone());
            }
            Some(present) => {
                if let Some(change) = difference(present, value) {
                    patch.insert(name.clone(), change);
                }
            }
        }
    }
    Some(Value::Object(patch))
}

/// The merge patch from one status to another, on the condition that the object still has this version.
pub fn status<S: Serialize>(before: Option<&S>, after: &S, resource_version: Option<&str>) -> Patch {
    let value = |status: &S| serde_json::to_value(status).unwrap_or_default();
    let before = before.map_or_else(|| json!({}), value);
    let change = difference(&before, &value(after)).unwrap_or_else(|| json!({}));
    Patch::Merge(json!({"metadata": {"resourceVersion": resource_version}, "status": change}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences() {
        let cases = [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1}), json!({"a": 2}), Some(json!({"a": 2}))),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null}))),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1, "c": 3}}), Some(json!({"a": {"c": 3}}))),
            (json!({"a": [1, 2]}), json!({"a": [1]}), Some(json!({"a": [1]}))),
            (json!({}), json!({"a": {"b": 1}}), Some(json!({"a": {"b": 1}}))),
        ];
        for (before, after, expected) in cases {
            assert_eq!(difference(&before, &after), expected, "{before} -> {after}");
        }
    }
}
