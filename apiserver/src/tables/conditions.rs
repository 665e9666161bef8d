//! Conditions of a row: a pod that has ended, which clients may leave out.

use serde_json::{Value, json};

use crate::kinds::fields::Fields;
use crate::registry::Kind;

pub fn of_row(kind: &Kind, object: &Value) -> Option<Value> {
    if !kind.group.is_empty() || kind.kind != "Pod" {
        return None;
    }
    let (reason, message) = match object.sub("status").text("phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(json!([{ "type": "Completed", "status": "True", "reason": reason, "message": message }]))
}
