//! Quantities of resources.

use keelson_objects::quantity::Quantity;
use serde_json::Value;

use super::{Errors, Path};

/// The quantity that a field holds. The decoder has already refused what does not parse.
pub fn quantity_of(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

pub fn non_negative_quantity(quantity: &Quantity, path: &Path, errors: &mut Errors) {
    if quantity.is_negative() {
        errors.invalid(path, quantity.to_string(), "must be greater than or equal to 0");
    }
}

/// The amount of the resource `name`: never negative, and whole where the resource comes in units.
pub fn resource_quantity(name: &str, quantity: &Quantity, path: &Path, errors: &mut Errors) {
    non_negative_quantity(quantity, path, errors);
    if is_counted(name) && quantity.milli_value() % 1000 != 0 {
        errors.invalid(path, quantity.to_string(), "must be an integer");
    }
}

/// Resources that come in whole units: objects of a quota, and extended resources.
fn is_counted(name: &str) -> bool {
    const OBJECTS: &[&str] = &[
        "pods",
        "services",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    ];
    OBJECTS.contains(&name) || is_extended(name)
}

/// A resource of a device plugin: qualified, and neither Kubernetes' own nor a quota's `requests.`.
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.")
}

pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

pub fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether requests may be lower than limits.
pub fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}
