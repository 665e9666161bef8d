//! Label selectors of objects (`matchLabels`, `matchExpressions`).

use serde_json::Value;

use super::{Errors, Path, meta, names};
use crate::kinds::fields::Fields;

pub fn validate(selector: &Value, path: &Path, errors: &mut Errors) {
    if selector.is_null() {
        return;
    }
    meta::labels(selector.sub("matchLabels"), &path.child("matchLabels"), errors);
    let expressions = path.child("matchExpressions");
    for (index, expression) in selector.items("matchExpressions").iter().enumerate() {
        let path = expressions.index(index);
        let values = expression.items("values");
        match expression.text("operator") {
            "In" | "NotIn" if values.is_empty() => {
                errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errors.forbidden(
                    &path.child("values"),
                    "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        meta::label_name(expression.text("key"), &path.child("key"), errors);
        let values_path = path.child("values");
        for (index, value) in values.iter().enumerate() {
            let value = value.as_str().unwrap_or("");
            errors.messages(&values_path.index(index), value, names::label_value(value));
        }
    }
}

/// Whether a selector selects these labels. A selector without any requirement selects everything.
pub fn matches(selector: &Value, labels: &Value) -> bool {
    let equal =
        selector.entries("matchLabels").all(|(key, value)| labels.get(key).and_then(Value::as_str) == Some(value));
    equal
        && selector.items("matchExpressions").iter().all(|expression| {
            let present = labels.get(expression.text("key")).and_then(Value::as_str);
            let listed = || present.is_some_and(|present| expression.strings("values").any(|value| value == present));
            match expression.text("operator") {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => present.is_some(),
                "DoesNotExist" => present.is_none(),
                _ => false,
            }
        })
}

pub fn is_empty(selector: &Value) -> bool {
    selector.map("matchLabels").is_none_or(|labels| labels.is_empty()) && selector.items("matchExpressions").is_empty()
}

/// Whether every requirement is complete, so that the selector can be asked at all.
pub fn is_parsable(selector: &Value) -> bool {
    let names_are_good = |key: &str| names::qualified_name(key).is_empty();
    selector.entries("matchLabels").all(|(key, value)| names_are_good(key) && names::label_value(value).is_empty())
        && selector.items("matchExpressions").iter().all(|expression| {
            let values = expression.items("values").len();
            let complete = match expression.text("operator") {
                "In" | "NotIn" => values > 0,
                "Exists" | "DoesNotExist" => values == 0,
                _ => false,
            };
            complete
                && names_are_good(expression.text("key"))
                && expression.strings("values").all(|value| names::label_value(value).is_empty())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_select() {
        let labels = json!({"app": "web", "tier": "front"});
        let table = [
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["db", "web"]}]}), true),
            (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}), false),
            (json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["web"]}]}), true),
            (json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}), true),
            (json!({}), true),
        ];
        for (selector, expected) in table {
            assert_eq!(matches(&selector, &labels), expected, "{selector}");
            assert!(is_parsable(&selector));
        }
        assert!(!is_parsable(&json!({"matchExpressions": [{"key": "x", "operator": "In"}]})));
    }
}
