//! JSON patch, RFC 6902, with a limit on the number of operations and on what copies may grow to.

use serde_json::Value;

use super::{Error, MAX_JSON_PATCH_OPERATIONS};

/// Copies together may not add more than a request body may hold.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// Applies the operations in order; the object is as it was if one of them fails.
pub fn json_patch(object: &mut Value, operations: &Value) -> Result<(), Error> {
    let count = operations.as_array().map(Vec::len).unwrap_or_default();
    if count > MAX_JSON_PATCH_OPERATIONS {
        return Err(Error::TooManyOperations(count));
    }
    let malformed = |error: serde_json::Error| Error::Malformed(format!("error decoding patch: {error}"));
    let patch: json_patch::Patch = serde_json::from_value(operations.clone()).map_err(malformed)?;
    let mut result = object.clone();
    let mut copied = 0;
    for operation in patch.0 {
        if let json_patch::PatchOperation::Copy(copy) = &operation {
            copied += result.pointer(copy.from.as_str()).map(size).unwrap_or_default();
            if copied > MAX_COPIED_BYTES {
                return Err(Error::Inapplicable(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED_BYTES}"
                )));
            }
        }
        let one = std::slice::from_ref(&operation);
        json_patch::patch(&mut result, one).map_err(|error| inapplicable(&operation, &error))?;
    }
    *object = result;
    Ok(())
}

/// Upstream's texts for the failures that users meet; the library's for the rest.
fn inapplicable(operation: &json_patch::PatchOperation, error: &json_patch::PatchError) -> Error {
    use json_patch::{PatchErrorKind, PatchOperation};
    let path = operation.path().as_str();
    let text = match (operation, &error.kind) {
        (PatchOperation::Test(_), PatchErrorKind::TestFailed) => format!("testing value {path} failed: test failed"),
        (PatchOperation::Test(_), _) => format!("testing path {path} failed: missing value"),
        (PatchOperation::Remove(_), _) => {
            format!("remove operation does not apply: doc is missing path: {path}: missing value")
        }
        (PatchOperation::Replace(_), _) => {
            format!("replace operation does not apply: doc is missing path: {path}: missing value")
        }
        (PatchOperation::Add(_), _) => {
            format!("add operation does not apply: doc is missing path: {path}: missing value")
        }
        (PatchOperation::Copy(_), _) => {
            format!("copy operation does not apply: doc is missing path: {path}: missing value")
        }
        (PatchOperation::Move(_), _) => {
            format!("move operation does not apply: doc is missing path: {path}: missing value")
        }
    };
    Error::Inapplicable(text)
}

fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 2,
        Value::Object(fields) => fields.iter().map(|(key, value)| key.len() + 3 + size(value)).sum::<usize>() + 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn operations_apply_in_order() {
        let mut object = json!({"a": {"b": [1, 2]}, "c": 3});
        let patch = json!([
            {"op": "test", "path": "/c", "value": 3},
            {"op": "add", "path": "/a/b/-", "value": 4},
            {"op": "remove", "path": "/a/b/0"},
            {"op": "replace", "path": "/c", "value": 5},
            {"op": "copy", "from": "/c", "path": "/d"},
            {"op": "move", "from": "/d", "path": "/e~1f"},
        ]);
        json_patch(&mut object, &patch).unwrap();
        assert_eq!(object, json!({"a": {"b": [2, 4]}, "c": 5, "e/f": 5}));
    }

    #[test]
    fn a_failing_operation_changes_nothing() {
        let mut object = json!({"a": 1});
        let patch = json!([{"op": "add", "path": "/b", "value": 1}, {"op": "remove", "path": "/x"}]);
        let error = json_patch(&mut object, &patch).unwrap_err();
        assert_eq!(
            error,
            Error::Inapplicable("remove operation does not apply: doc is missing path: /x: missing value".to_owned())
        );
        assert_eq!(object, json!({"a": 1}));
    }

    #[test]
    fn limits_hold() {
        let operation = json!({"op": "add", "path": "/a", "value": 1});
        let patch = Value::Array(vec![operation; MAX_JSON_PATCH_OPERATIONS + 1]);
        assert_eq!(json_patch(&mut json!({}), &patch), Err(Error::TooManyOperations(MAX_JSON_PATCH_OPERATIONS + 1)));
        let doubling = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let patch = Value::Array(vec![doubling; 60]);
        assert!(matches!(json_patch(&mut json!({"a": [1]}), &patch), Err(Error::Inapplicable(_))));
        assert!(matches!(json_patch(&mut json!({}), &json!({"op": "add"})), Err(Error::Malformed(_))));
    }
}
