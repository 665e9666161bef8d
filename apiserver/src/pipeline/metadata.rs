//! What the server itself says in an object's metadata.

use keelson_objects::{
    meta, names,
    status::{GroupResource, StatusError},
};
use serde_json::{Value, json};

use super::Request;

/// Fields that a client may send but never sets.
const SERVER_FIELDS: &[&str] =
    &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "managedFields"];
/// What survives an update from the stored object.
const KEPT_FIELDS: &[&str] = &["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"];

/// Puts metadata first (readers like it there) and makes it what a new object has.
pub(super) fn fill_new(object: &mut Value, request: &Request, now: &str) -> Result<(), StatusError> {
    if !meta::resource_version(object).is_empty() {
        return Err(StatusError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    fill_namespace(object, request)?;
    let metadata = meta::metadata_mut(object);
    for field in SERVER_FIELDS {
        metadata.shift_remove(*field);
    }
    metadata.shift_remove("resourceVersion");
    metadata.insert("uid".to_owned(), uuid::Uuid::new_v4().to_string().into());
    metadata.insert("creationTimestamp".to_owned(), now.into());
    if request.kind.generation {
        metadata.insert("generation".to_owned(), 1.into());
    } else {
        metadata.shift_remove("generation");
    }
    Ok(())
}

/// Sets or checks the namespace against the path's.
pub(super) fn fill_namespace(object: &mut Value, request: &Request) -> Result<(), StatusError> {
    if !request.kind.namespaced() {
        return Ok(());
    }
    match meta::namespace(object) {
        "" => {
            meta::metadata_mut(object).insert("namespace".to_owned(), request.namespace.as_str().into());
            Ok(())
        }
        given if given == request.namespace => Ok(()),
        _ => Err(StatusError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        )),
    }
}

/// Makes a name of generateName where there is none. True if it did.
pub(super) fn generate_name(object: &mut Value) -> bool {
    if !meta::name(object).is_empty() || meta::generate_name(object).is_empty() {
        return false;
    }
    let name = names::generate(meta::generate_name(object));
    let metadata = meta::metadata_mut(object);
    metadata.insert("name".to_owned(), name.into());
    true
}

/// Restores what an update cannot change.
pub(super) fn keep_from_old(object: &mut Value, old: &Value) {
    let metadata = meta::metadata_mut(object);
    for field in KEPT_FIELDS {
        match old["metadata"].get(*field) {
            Some(value) => drop(metadata.insert((*field).to_owned(), value.clone())),
            None => drop(metadata.shift_remove(*field)),
        }
    }
    for field in ["selfLink", "managedFields"] {
        metadata.shift_remove(field);
    }
    match old["metadata"].get("generation") {
        Some(generation) => drop(metadata.insert("generation".to_owned(), generation.clone())),
        None => drop(metadata.shift_remove("generation")),
    }
}

/// Counts a change outside metadata and status.
pub(super) fn count_generation(object: &mut Value, old: &Value) {
    let relevant = |value: &Value| -> Vec<(String, Value)> {
        let members = value.as_object().into_iter().flatten();
        let mut members: Vec<_> = members
            .filter(|(name, value)| {
                !matches!(name.as_str(), "metadata" | "status" | "kind" | "apiVersion") && !value.is_null()
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        members.sort_by(|left, right| left.0.cmp(&right.0));
        members
    };
    if object.get("spec") == old.get("spec") && relevant(object) == relevant(old) {
        return;
    }
    meta::set_generation(object, meta::generation(old) + 1);
}

/// The object is asked to go: since `now` it has `grace` seconds.
pub(super) fn mark_deleting(object: &mut Value, deletion_timestamp: &str, grace: i64) {
    let generation = meta::generation(object);
    let metadata = meta::metadata_mut(object);
    metadata.insert("deletionTimestamp".to_owned(), deletion_timestamp.into());
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    if generation > 0 {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
}

/// uid and resourceVersion that a delete or an update insists on.
pub(super) fn check_preconditions(
    object: &Value,
    uid: Option<&str>,
    resource_version: Option<&str>,
    resource: &GroupResource<'_>,
    name: &str,
) -> Result<(), StatusError> {
    let own = meta::uid(object);
    if let Some(uid) = uid.filter(|uid| *uid != own) {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {own}");
        return Err(StatusError::conflict(resource, name, why));
    }
    let own = meta::resource_version(object);
    if let Some(version) = resource_version.filter(|version| *version != own) {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {own}"
        );
        return Err(StatusError::conflict(resource, name, why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_counts_changes_of_what_is_wanted() {
        let old = json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "status": {"a": 1}});
        let table = [
            (json!({"metadata": {"generation": 3, "labels": {"a": "b"}}, "spec": {"replicas": 1}}), 3),
            (json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "status": {"a": 2}}), 3),
            (json!({"metadata": {"generation": 3}, "spec": {"replicas": 2}}), 4),
            (json!({"metadata": {"generation": 3}, "spec": {"replicas": 1}, "other": 1}), 4),
        ];
        for (mut object, expected) in table {
            count_generation(&mut object, &old);
            assert_eq!(meta::generation(&object), expected, "{object}");
        }
    }

    #[test]
    fn preconditions_name_what_differs() {
        let object = json!({"metadata": {"uid": "a", "resourceVersion": "5"}});
        let pods = GroupResource::new("", "pods");
        assert!(check_preconditions(&object, Some("a"), Some("5"), &pods, "x").is_ok());
        let error = check_preconditions(&object, Some("b"), None, &pods, "x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Operation cannot be fulfilled on pods \"x\": Precondition failed: UID in precondition: b, UID in object meta: a"
        );
        assert_eq!(check_preconditions(&object, None, Some("6"), &pods, "x").unwrap_err().code(), 409);
    }
}
