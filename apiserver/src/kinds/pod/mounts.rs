//! Where a container's volumes go: mounts and block devices.

use std::collections::HashSet;

use serde_json::Value;

use super::volumes::Volumes;
use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path};

pub fn validate_mounts(container: &Value, volumes: &Volumes, path: &Path, errors: &mut Errors) {
    let devices = container.items("volumeDevices");
    let mut points = HashSet::new();
    for (index, mount) in container.items("volumeMounts").iter().enumerate() {
        let list = path;
        let path = path.index(index);
        let (name, point) = (mount.text("name"), mount.text("mountPath"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        if !volumes.contains(name) {
            errors.not_found(&path.child("name"), name);
        }
        if point.is_empty() {
            errors.required(&path.child("mountPath"), "");
        }
        if !points.insert(point) {
            errors.invalid(&path.child("mountPath"), point, "must be unique");
        }
        if devices.iter().any(|device| device.text("name") == name) {
            errors.invalid(&path.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.text("devicePath") == point) {
            errors.invalid(&path.child("mountPath"), point, "must not already exist as a path in volumeDevices");
        }

        let (sub_path, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
        if !sub_path.is_empty() {
            local_descending_path(sub_path, &list.child("subPath"), errors);
        }
        if !expression.is_empty() {
            if !sub_path.is_empty() {
                errors.invalid(
                    &path.child("subPathExpr"),
                    expression,
                    "subPathExpr and subPath are mutually exclusive",
                );
            }
            local_descending_path(expression, &list.child("subPathExpr"), errors);
        }
        validate_propagation(mount, container, list, errors);
    }
}

fn validate_propagation(mount: &Value, container: &Value, path: &Path, errors: &mut Errors) {
    let propagation = mount.text("mountPropagation");
    if mount.present("mountPropagation") {
        let path = path.child("mountPropagation");
        if !["Bidirectional", "HostToContainer", "None"].contains(&propagation) {
            errors.not_supported(&path, propagation, &["Bidirectional", "HostToContainer", "None"]);
        }
        let privileged = container.sub("securityContext").flag("privileged").unwrap_or(false);
        if propagation == "Bidirectional" && !privileged {
            errors.forbidden(&path, "Bidirectional mount propagation is available only to privileged containers");
        }
    }
    let recursive = mount.text("recursiveReadOnly");
    if !mount.present("recursiveReadOnly") {
        return;
    }
    let path = path.child("recursiveReadOnly");
    match recursive {
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly").unwrap_or(false) {
                errors.forbidden(&path, "may only be specified when readOnly is true");
            }
            if !propagation.is_empty() && propagation != "None" {
                errors.forbidden(&path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => errors.not_supported(&path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

pub fn validate_devices(container: &Value, volumes: &Volumes, path: &Path, errors: &mut Errors) {
    let mounts = container.items("volumeMounts");
    let (mut paths, mut names) = (HashSet::new(), HashSet::new());
    for (index, device) in container.items("volumeDevices").iter().enumerate() {
        let path = path.index(index);
        let (name, point) = (device.text("name"), device.text("devicePath"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        if !names.insert(name) && !name.is_empty() {
            errors.invalid(&path.child("name"), name, "must be unique");
        }
        match volumes.source(name) {
            None => errors.not_found(&path.child("name"), name),
            Some(source) if !source.present("persistentVolumeClaim") && !source.present("ephemeral") => {
                errors.invalid(
                    &path.child("name"),
                    name,
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
                );
            }
            Some(_) => {}
        }
        if point.is_empty() {
            errors.required(&path.child("devicePath"), "");
        }
        if !paths.insert(point) {
            errors.invalid(&path.child("devicePath"), point, "must be unique");
        }
        if has_backsteps(point) {
            errors.invalid(&path.child("devicePath"), point, "can not contain backsteps ('..')");
        }
        if mounts.iter().any(|mount| mount.text("name") == name) {
            errors.invalid(&path.child("name"), name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| mount.text("mountPath") == point) {
            errors.invalid(&path.child("devicePath"), point, "must not already exist as a path in volumeMounts");
        }
    }
}

/// A relative path that stays below where it starts.
pub fn local_descending_path(value: &str, path: &Path, errors: &mut Errors) {
    if value.starts_with('/') {
        errors.invalid(path, value, "must be a relative path");
    }
    no_backsteps(value, path, errors);
}

pub fn no_backsteps(value: &str, path: &Path, errors: &mut Errors) {
    if has_backsteps(value) {
        errors.invalid(path, value, "must not contain '..'");
    }
}

fn has_backsteps(path: &str) -> bool {
    path.split('/').any(|part| part == "..")
}
