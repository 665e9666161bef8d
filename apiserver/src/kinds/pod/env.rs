//! The rules of a container's environment.

use serde_json::Value;

use super::volumes::Volumes;
use super::{downward, mounts};
use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path, names};

const TOO_MANY_SOURCES: &str = "may not have more than one field specified at a time";

pub fn validate_env(variables: &[Value], volumes: &Volumes, path: &Path, errors: &mut Errors) {
    for (index, variable) in variables.iter().enumerate() {
        let path = path.index(index);
        let name = variable.text("name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.messages(&path.child("name"), name, names::env_var_name(name));
        }
        let source = variable.sub("valueFrom");
        if !source.is_null() {
            validate_source(variable.text("value"), source, volumes, &path.child("valueFrom"), errors);
        }
    }
}

fn validate_source(value: &str, source: &Value, volumes: &Volumes, path: &Path, errors: &mut Errors) {
    let mut sources = 0;
    if source.present("fieldRef") {
        sources += 1;
        downward::validate_field_ref(source.sub("fieldRef"), downward::ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if source.present("resourceFieldRef") {
        sources += 1;
        let reference = source.sub("resourceFieldRef");
        downward::validate_resource_ref(reference, false, &path.child("resourceFieldRef"), errors);
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        if source.present(field) {
            sources += 1;
            validate_key_selector(source.sub(field), &path.child(field), errors);
        }
    }
    if source.present("fileKeyRef") {
        sources += 1;
        validate_file_key(source.sub("fileKeyRef"), volumes, &path.child("fileKeyRef"), errors);
    }
    if sources == 0 {
        errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if !value.is_empty() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(path, "", TOO_MANY_SOURCES);
    }
}

fn validate_key_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    let name = selector.text("name");
    errors.messages(&path.child("name"), name, names::subdomain(name, false));
    let key = selector.text("key");
    if key.is_empty() {
        errors.required(&path.child("key"), "");
    } else {
        errors.messages(&path.child("key"), key, names::config_map_key(key));
    }
}

/// KEP-3721: a variable read from a file in an emptyDir volume.
fn validate_file_key(reference: &Value, volumes: &Volumes, path: &Path, errors: &mut Errors) {
    for field in ["volumeName", "path", "key"] {
        if reference.text(field).is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    let volume = reference.text("volumeName");
    if !volume.is_empty() && !volumes.contains(volume) {
        errors.not_found(&path.child("volumeName"), volume);
    }
    let file = reference.text("path");
    if !file.is_empty() {
        mounts::local_descending_path(file, &path.child("path"), errors);
    }
}

pub fn validate_env_from(sources: &[Value], path: &Path, errors: &mut Errors) {
    for (index, source) in sources.iter().enumerate() {
        let item = path.index(index);
        let prefix = source.text("prefix");
        if !prefix.is_empty() {
            errors.messages(&item.child("prefix"), prefix, names::env_var_name(prefix));
        }
        let mut count = 0;
        for field in ["configMapRef", "secretRef"] {
            if !source.present(field) {
                continue;
            }
            count += 1;
            let name = source.sub(field).text("name");
            let field_path = item.child(field);
            if name.is_empty() {
                errors.required(&field_path.child("name"), "");
            } else {
                errors.messages(&field_path.child("name"), name, names::subdomain(name, true));
            }
        }
        match count {
            0 => errors.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => errors.invalid(path, "", TOO_MANY_SOURCES),
        }
    }
}
