//! The rules of security contexts, of pods and of containers.

use std::collections::HashSet;

use serde_json::Value;

use super::mounts;
use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path, names};

pub fn validate_pod(context: &Value, spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context.int(field), &path.child(field), errors);
    }
    let groups = path.child("supplementalGroups");
    for (index, group) in context.items("supplementalGroups").iter().enumerate() {
        id(group.as_i64(), &groups.index(index), errors);
    }
    sysctls(context.items("sysctls"), spec, &path.child("sysctls"), errors);
    for (field, supported) in [
        ("fsGroupChangePolicy", ["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", ["Merge", "Strict"]),
        ("seLinuxChangePolicy", ["MountOption", "Recursive"]),
    ] {
        if context.present(field) && !supported.contains(&context.text(field)) {
            errors.not_supported(&path.child(field), context.text(field), &supported);
        }
    }
    profiles(context, path, errors);
}

pub fn validate_container(context: &Value, host_users: bool, path: &Path, errors: &mut Errors) {
    if context.is_null() {
        return;
    }
    for field in ["runAsUser", "runAsGroup"] {
        id(context.int(field), &path.child(field), errors);
    }
    if context.present("procMount") {
        let mount = context.text("procMount");
        if !["Default", "Unmasked"].contains(&mount) {
            errors.not_supported(&path.child("procMount"), mount, &["Default", "Unmasked"]);
        } else if host_users && mount == "Unmasked" {
            errors.invalid(&path.child("procMount"), mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    if context.flag("allowPrivilegeEscalation") == Some(false) {
        if context.flag("privileged") == Some(true) {
            errors.invalid(
                path,
                context.clone(),
                "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            );
        }
        if context.sub("capabilities").strings("add").any(|capability| capability == "CAP_SYS_ADMIN") {
            errors.invalid(
                path,
                context.clone(),
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            );
        }
    }
    profiles(context, path, errors);
}

fn id(id: Option<i64>, path: &Path, errors: &mut Errors) {
    let Some(id) = id else { return };
    for message in names::id(id) {
        errors.invalid(path, id, message);
    }
}

/// Seccomp and AppArmor: what type, and a local file exactly when the type is Localhost.
fn profiles(context: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
    for (field, label) in [("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")] {
        let profile = context.sub(field);
        if profile.is_null() {
            continue;
        }
        let path = path.child(field);
        let local = profile.present("localhostProfile").then(|| profile.text("localhostProfile"));
        match (profile.text("type"), local) {
            ("", _) => errors.required(&path.child("type"), format!("type is required when {field} is set")),
            ("Localhost", None) => {
                errors.required(&path.child("localhostProfile"), format!("must be set when {label} type is Localhost"))
            }
            ("Localhost", Some(file)) if field == "seccompProfile" => {
                mounts::local_descending_path(file, &path.child("localhostProfile"), errors);
            }
            ("Localhost", Some(file)) => app_armor_file(file, &path.child("localhostProfile"), errors),
            (kind, _) if !TYPES.contains(&kind) => errors.not_supported(&path.child("type"), kind, TYPES),
            (_, Some(file)) => {
                let value = if field == "seccompProfile" { profile.clone() } else { file.into() };
                let detail = format!("can only be set when {label} type is Localhost");
                errors.invalid(&path.child("localhostProfile"), value, detail);
            }
            (_, None) => {}
        }
    }
}

fn app_armor_file(file: &str, path: &Path, errors: &mut Errors) {
    const LONGEST_PATH: usize = 4095;
    if file.trim() != file {
        errors.invalid(path, file, "must not be padded with whitespace");
    } else if file.is_empty() {
        errors.required(path, "must be set when AppArmor type is Localhost");
    }
    if file.len() > LONGEST_PATH {
        errors.too_long(path, LONGEST_PATH);
    }
}

fn sysctls(sysctls: &[Value], spec: &Value, path: &Path, errors: &mut Errors) {
    const LONGEST: usize = 253;
    let mut seen = HashSet::new();
    for (index, sysctl) in sysctls.iter().enumerate() {
        let item = path.index(index);
        let path = item.child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.required(&path, "");
        } else if name.len() > LONGEST || !is_sysctl(name) {
            errors.invalid(
                &path,
                name,
                "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$",
            );
        } else if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
        let dotted = name.replace('/', ".");
        if spec.flag("hostNetwork") == Some(true) && dotted.starts_with("net.") {
            errors.invalid(&path, name, "may not be specified when 'hostNetwork' is true");
        }
        let of_ipc =
            ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."].iter().any(|prefix| dotted.starts_with(prefix));
        if spec.flag("hostIPC") == Some(true) && of_ipc {
            errors.invalid(&path, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    name.split(['.', '/']).all(|part| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        part.bytes().all(inner) && edge(part.as_bytes().first()) && edge(part.as_bytes().last())
    })
}
