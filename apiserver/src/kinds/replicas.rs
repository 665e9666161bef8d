//! What Deployment and ReplicaSet have in common.

use serde_json::Value;

use super::fields::Fields;
use super::pod::template;
use super::validation::{Errors, Path, selectors};
use crate::registry::{ScalePaths, Subresource};

pub fn scale() -> Subresource {
    Subresource::scale(ScalePaths {
        spec_replicas: &["spec", "replicas"],
        status_replicas: &["status", "replicas"],
        selector: &["spec", "selector"],
    })
}

pub fn validate_spec(spec: &Value, path: &Path, errors: &mut Errors) {
    errors.non_negative(&path.child("replicas"), spec.int("replicas"));
    errors.non_negative(&path.child("minReadySeconds"), spec.int("minReadySeconds"));
    let selector = spec.sub("selector");
    let selector_path = path.child("selector");
    if selector.is_null() {
        errors.required(&selector_path, "");
    } else {
        selectors::validate(selector, &selector_path, errors);
        if selectors::is_empty(selector) {
            errors.invalid(&selector_path, selector.clone(), "empty selector is invalid for deployment");
        }
    }
    if !selectors::is_parsable(selector) {
        errors.invalid(&selector_path, selector.clone(), "invalid label selector");
        return;
    }
    template::validate_for_replicas(spec.sub("template"), selector, &path.child("template"), errors);
}

/// Counts of a status: none negative, none above what it is a part of.
pub fn validate_status(status: &Value, counts: &[&str], parts: &[&str], errors: &mut Errors) {
    let path = Path::root("status");
    for field in counts {
        errors.non_negative(&path.child(field), status.int(field));
    }
    let count = |field: &str| status.int(field).unwrap_or(0);
    for field in parts {
        if count(field) > count("replicas") {
            errors.invalid(&path.child(field), count(field), "cannot be greater than status.replicas");
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        errors.invalid(
            &path.child("availableReplicas"),
            count("availableReplicas"),
            "cannot be greater than readyReplicas",
        );
    }
}
