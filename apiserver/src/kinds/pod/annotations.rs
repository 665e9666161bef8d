//! Annotations that mean something to a pod.

use serde_json::Value;

use crate::kinds::fields::{Fields, same};
use crate::kinds::validation::{Errors, Path};

pub const MIRROR: &str = "kubernetes.io/config.mirror";
pub const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub fn validate(metadata: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    for (key, value) in metadata.entries("annotations") {
        if key == MIRROR && spec.text("nodeName").is_empty() {
            errors.invalid(&path.key(key), value, "must set spec.nodeName if mirror pod annotation is set");
        }
        if key == DELETION_COST && !is_cost(value) {
            errors.invalid(&path.key(key), value, "must be a 32bit integer");
        }
    }
}

/// A 32-bit integer in its one canonical form.
fn is_cost(value: &str) -> bool {
    value.parse::<i32>().is_ok_and(|cost| cost.to_string() == value)
}

pub fn validate_update(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let (new, old) = (new.sub("annotations").sub(MIRROR), old.sub("annotations").sub(MIRROR));
    if same(new, old) {
        return;
    }
    let verb = if old.is_null() { "add" } else { "remove or update" };
    errors.forbidden(&path.key(MIRROR), format!("may not {verb} mirror pod annotation"));
}
