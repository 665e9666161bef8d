//! Small readings of object metadata that every planner needs: names, owners, ages, label selection.
//!
//! Nothing here does I/O; absent fields read as their empty value, as Kubernetes' own accessors do.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};

/// `namespace/name`, or just the name for an object without namespace: the key of queues and caches.
pub fn key(meta: &ObjectMeta) -> String {
    match meta.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => join_key(namespace, name(meta)),
        _ => name(meta).to_owned(),
    }
}

pub fn join_key(namespace: &str, name: &str) -> String {
    format!("{namespace}/{name}")
}

pub fn name(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

pub fn namespace(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

pub fn uid(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

pub fn generation(meta: &ObjectMeta) -> i64 {
    meta.generation.unwrap_or_default()
}

pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The one owner reference that is marked as controller.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

/// When the object was made. One that carries no time yet counts as made at the end of time, so that it sorts newest.
pub fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp.as_ref().map_or(Timestamp::MAX, |time| time.0)
}

/// A time as API objects carry it: whole seconds.
pub fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Whether `labels` satisfy the selector. A selector that says nothing selects everything; an operator that is not
/// known selects nothing.
pub fn selects(selector: &LabelSelector, labels: Option<&BTreeMap<String, String>>) -> bool {
    let value = |key: &str| labels.and_then(|labels| labels.get(key));
    let equal = selector.match_labels.iter().flatten().all(|(key, wanted)| value(key) == Some(wanted));
    equal
        && selector.match_expressions.iter().flatten().all(|rule| {
            let present = value(&rule.key);
            let listed = |value: &String| rule.values.iter().flatten().any(|one| one == value);
            match rule.operator.as_str() {
                "In" => present.is_some_and(listed),
                "NotIn" => !present.is_some_and(listed),
                "Exists" => present.is_some(),
                "DoesNotExist" => present.is_none(),
                _ => false,
            }
        })
}

/// Whether the selector says nothing at all, and so would select every object of the namespace.
pub fn selects_everything(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;

    fn rule(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.into(),
                operator: operator.into(),
                values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
            }]),
            ..Default::default()
        }
    }

    #[test]
    fn selector_operators() {
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let cases = [
            (rule("app", "In", &["web", "db"]), true),
            (rule("app", "In", &["db"]), false),
            (rule("tier", "In", &["db"]), false),
            (rule("app", "NotIn", &["web"]), false),
            (rule("tier", "NotIn", &["web"]), true),
            (rule("app", "Exists", &[]), true),
            (rule("tier", "Exists", &[]), false),
            (rule("tier", "DoesNotExist", &[]), true),
            (rule("app", "DoesNotExist", &[]), false),
            (rule("app", "Near", &[]), false),
            (LabelSelector::default(), true),
        ];
        for (selector, expected) in cases {
            assert_eq!(selects(&selector, Some(&labels)), expected, "{selector:?}");
        }
        assert!(selects_everything(&LabelSelector::default()));
        assert!(!selects(&rule("app", "In", &["web"]), None));
    }
}
