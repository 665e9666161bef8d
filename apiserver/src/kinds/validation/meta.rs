//! What holds for the metadata of every object: names, labels, annotations, owners and finalizers.

use serde_json::{Map, Value};

use super::names;
use super::{Errors, Path, same};
use crate::kinds::fields::Fields;

/// Keys and values of all annotations together.
pub const ANNOTATIONS_LIMIT: usize = 256 * 1024;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// The rules for a new object, after its name was generated.
pub fn validate(object: &Value, namespaced: bool, rule: impl Fn(&str, bool) -> Vec<String>, errors: &mut Errors) {
    let meta = object.sub("metadata");
    let path = &Path::root("metadata");
    let generate_name = meta.text("generateName");
    if !generate_name.is_empty() {
        for message in rule(generate_name, true) {
            errors.invalid(&path.child("generateName"), generate_name, message);
        }
    }
    let name = meta.text("name");
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        for message in rule(name, false) {
            errors.invalid(&path.child("name"), name, message);
        }
    }

    let namespace = meta.text("namespace");
    if !namespaced {
        if !namespace.is_empty() {
            errors.forbidden(&path.child("namespace"), "not allowed on this type");
        }
    } else if namespace.is_empty() {
        errors.required(&path.child("namespace"), "");
    } else {
        for message in names::label(namespace, false) {
            errors.invalid(&path.child("namespace"), namespace, message);
        }
    }
    errors.non_negative(&path.child("generation"), meta.int("generation"));
    validate_common(meta, path, errors);
}

/// The rules for the change of an object's metadata. The pipeline has already restored what a writer cannot set
/// (uid, creationTimestamp, deletionTimestamp), so what differs here was asked for.
pub fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::root("metadata");
    let (new, old) = (new.sub("metadata"), old.sub("metadata"));

    if old.present("deletionTimestamp") {
        let mut added: Vec<&str> =
            new.strings("finalizers").filter(|name| !old.strings("finalizers").any(|known| known == *name)).collect();
        if !added.is_empty() {
            added.sort_unstable();
            let list = added.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            errors.forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{list}}}"
                ),
            );
        }
    }
    let generation = new.int("generation").unwrap_or(0);
    if generation < old.int("generation").unwrap_or(0) {
        errors.invalid(&path.child("generation"), generation, "must not be decremented");
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        errors.immutable(&path.child(field), new.sub(field), old.sub(field));
    }
    validate_common(new, &path, errors);
}

fn validate_common(meta: &Value, path: &Path, errors: &mut Errors) {
    labels(meta.sub("labels"), &path.child("labels"), errors);
    annotations(meta.sub("annotations"), &path.child("annotations"), errors);
    owner_references(meta.items("ownerReferences"), &path.child("ownerReferences"), errors);
    finalizers(meta.sub("finalizers"), meta, &path.child("finalizers"), errors);
}

pub fn labels(labels: &Value, path: &Path, errors: &mut Errors) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        label_name(key, path, errors);
        let value = value.as_str().unwrap_or("");
        for message in names::label_value(value) {
            errors.invalid(path, value, message);
        }
    }
}

pub fn label_name(key: &str, path: &Path, errors: &mut Errors) {
    for message in names::qualified_name(key) {
        errors.invalid(path, key, message);
    }
}

pub fn annotations(annotations: &Value, path: &Path, errors: &mut Errors) {
    let Some(annotations) = annotations.as_object() else { return };
    for key in annotations.keys() {
        for message in names::qualified_name(&key.to_lowercase()) {
            errors.invalid(path, key.as_str(), message);
        }
    }
    if total_size(annotations) > ANNOTATIONS_LIMIT {
        errors.too_long(path, ANNOTATIONS_LIMIT);
    }
}

fn total_size(annotations: &Map<String, Value>) -> usize {
    annotations.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

fn owner_references(references: &[Value], path: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for reference in references {
        let (api_version, kind) = (reference.text("apiVersion"), reference.text("kind"));
        let version = api_version.rsplit('/').next().unwrap_or("");
        if version.is_empty() {
            errors.invalid(&path.child("apiVersion"), api_version, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if reference.text(field).is_empty() {
                errors.invalid(&path.child(field), reference.text(field), "must not be empty");
            }
        }
        if api_version == "v1" && kind == "Event" {
            errors.invalid(path, reference.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if reference.flag("controller") == Some(true) {
            let this = format!("{kind}/{}", reference.text("name"));
            match &controller {
                Some(first) => errors.invalid(
                    path,
                    Value::Array(references.to_vec()),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    ),
                ),
                None => controller = Some(this),
            }
        }
    }
}

fn finalizers(list: &Value, meta: &Value, path: &Path, errors: &mut Errors) {
    let (mut orphan, mut foreground) = (false, false);
    for finalizer in meta.strings("finalizers") {
        for message in names::qualified_name(finalizer) {
            errors.invalid(path, finalizer, message);
        }
        orphan |= finalizer == ORPHAN;
        foreground |= finalizer == FOREGROUND;
    }
    if orphan && foreground {
        errors.invalid(path, list.clone(), format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set"));
    }
}

/// Whether an update leaves the map of labels or annotations as it was.
pub fn unchanged(new: &Value, old: &Value, field: &str) -> bool {
    same(new.sub("metadata").sub(field), old.sub("metadata").sub(field))
}
