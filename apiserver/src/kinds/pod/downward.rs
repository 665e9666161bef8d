//! References of the downward API: fields of the pod, and resources of its containers.

use serde_json::Value;

use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path, names, quantity_of};

/// What an environment variable may be taken from; sorted, as the error lists them.
pub const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// What a file of a downward API volume may be taken from.
pub const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// What `fieldPath` may say in v1 at all, before the narrower list of its place is looked at.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "spec.host",
];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const HUGE_PAGES: [&str; 2] = ["limits.hugepages-", "requests.hugepages-"];
const BYTE_DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub fn validate_field_ref(reference: &Value, allowed: &[&str], path: &Path, errors: &mut Errors) {
    if reference.text("apiVersion").is_empty() {
        errors.required(&path.child("apiVersion"), "");
        return;
    }
    let field = reference.text("fieldPath");
    if field.is_empty() {
        errors.required(&path.child("fieldPath"), "");
        return;
    }
    let api_version = reference.text("apiVersion");
    if api_version != "v1" {
        let reason = format!("error converting fieldPath: unsupported pod version: {api_version}");
        errors.invalid(&path.child("fieldPath"), field, reason);
        return;
    }
    let (name, subscript) = split_subscript(field);
    if !KNOWN_FIELDS.contains(&name) {
        let reason = format!("error converting fieldPath: field label not supported: {name}");
        errors.invalid(&path.child("fieldPath"), field, reason);
        return;
    }
    match (name, subscript) {
        ("metadata.annotations", Some(key)) => {
            errors.messages(path, key, names::qualified_name(&key.to_lowercase()));
        }
        ("metadata.labels", Some(key)) => errors.messages(path, key, names::qualified_name(key)),
        (_, Some(_)) => errors.invalid(path, name, "does not support subscript"),
        (_, None) if !allowed.contains(&name) => {
            errors.not_supported(&path.child("fieldPath"), name, allowed);
        }
        (_, None) => {}
    }
}

/// `metadata.labels['app']` is the field `metadata.labels` with the subscript `app`.
fn split_subscript(field: &str) -> (&str, Option<&str>) {
    match field.strip_suffix("']").and_then(|rest| rest.split_once("['")) {
        Some((name, key)) if !name.is_empty() => (name, Some(key)),
        _ => (field, None),
    }
}

pub fn validate_resource_ref(reference: &Value, in_volume: bool, path: &Path, errors: &mut Errors) {
    let resource = reference.text("resource");
    if in_volume && reference.text("containerName").is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !HUGE_PAGES.iter().any(|prefix| resource.starts_with(prefix)) {
        errors.not_supported(&path.child("resource"), resource, RESOURCES);
    }

    let Some(divisor) = quantity_of(reference.sub("divisor")) else { return };
    if divisor.is_zero() {
        return;
    }
    let divisor = divisor.to_string();
    let (allowed, what): (&[&str], _) = match resource {
        "limits.cpu" | "requests.cpu" => (&["1m", "1"], "values 1m and 1 are supported with the cpu resource"),
        "limits.memory" | "requests.memory" => (BYTE_DIVISORS, "the memory resource"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (BYTE_DIVISORS, "the local ephemeral storage resource")
        }
        other if HUGE_PAGES.iter().any(|prefix| other.starts_with(prefix)) => (BYTE_DIVISORS, "the hugepages resource"),
        _ => return,
    };
    if !allowed.contains(&divisor.as_str()) {
        let detail = if allowed.len() == 2 {
            format!("only divisor's {what}")
        } else {
            format!("only divisor's values {} are supported with {what}", BYTE_DIVISORS.join(", "))
        };
        errors.invalid(&path.child("divisor"), resource, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::split_subscript;

    #[test]
    fn subscripts_are_split_off() {
        assert_eq!(split_subscript("metadata.labels['a/b']"), ("metadata.labels", Some("a/b")));
        assert_eq!(split_subscript("metadata.name"), ("metadata.name", None));
        assert_eq!(split_subscript("metadata.labels[a]"), ("metadata.labels[a]", None));
    }
}
