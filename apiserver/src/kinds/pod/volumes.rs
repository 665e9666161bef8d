//! The rules of a pod's volumes and their sources.

use std::collections::HashMap;

use serde_json::Value;

use super::{downward, mounts};
use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path, names, non_negative_quantity, quantity_of};

/// A pod's volumes by name.
#[derive(Default)]
pub struct Volumes<'a>(HashMap<&'a str, &'a Value>);

impl<'a> Volumes<'a> {
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn source(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).copied()
    }
}

const MODE_TEXT: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const ONE_TYPE: &str = "may not specify more than 1 volume type";

pub fn validate<'a>(volumes: &'a [Value], path: &Path, errors: &mut Errors) -> Volumes<'a> {
    let mut known = Volumes::default();
    for (index, volume) in volumes.iter().enumerate() {
        let path = path.index(index);
        let before = errors.len();
        let name = volume.text("name");
        validate_source(volume, &path, errors);
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.messages(&path.child("name"), name, names::dns1123_label(name));
        }
        if known.contains(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if errors.len() == before {
            known.0.insert(name, volume);
        }
    }
    known
}

/// Judges one source; `name` is its field's name.
type SourceRule = fn(source: &Value, volume: &Value, path: &Path, errors: &mut Errors);

/// Every source that a volume can have, in upstream's order, with what must hold for it. Sources that need a storage
/// driver are judged for their required fields.
const SOURCES: &[(&str, SourceRule)] = &[
    ("emptyDir", empty_dir),
    ("hostPath", host_path),
    ("gitRepo", |source, _, path, errors| need(source, &["repository"], path, errors)),
    ("gcePersistentDisk", |source, _, path, errors| need(source, &["pdName"], path, errors)),
    ("awsElasticBlockStore", |source, _, path, errors| need(source, &["volumeID"], path, errors)),
    ("secret", secret),
    ("nfs", nfs),
    ("iscsi", |source, _, path, errors| need(source, &["targetPortal", "iqn"], path, errors)),
    ("glusterfs", |source, _, path, errors| need(source, &["endpoints", "path"], path, errors)),
    ("flocker", |_, _, _, _| {}),
    ("persistentVolumeClaim", |source, _, path, errors| need(source, &["claimName"], path, errors)),
    ("rbd", |source, _, path, errors| need(source, &["monitors", "image"], path, errors)),
    ("cinder", |source, _, path, errors| need(source, &["volumeID"], path, errors)),
    ("cephfs", |source, _, path, errors| need(source, &["monitors"], path, errors)),
    ("quobyte", |source, _, path, errors| need(source, &["registry", "volume"], path, errors)),
    ("downwardAPI", downward_api),
    ("fc", |_, _, _, _| {}),
    ("flexVolume", |source, _, path, errors| need(source, &["driver"], path, errors)),
    ("configMap", config_map),
    ("azureFile", |source, _, path, errors| need(source, &["secretName", "shareName"], path, errors)),
    ("vsphereVolume", |source, _, path, errors| need(source, &["volumePath"], path, errors)),
    ("photonPersistentDisk", |source, _, path, errors| need(source, &["pdID"], path, errors)),
    ("portworxVolume", |source, _, path, errors| need(source, &["volumeID"], path, errors)),
    ("azureDisk", |source, _, path, errors| need(source, &["diskName", "diskURI"], path, errors)),
    ("storageos", |_, _, _, _| {}),
    ("projected", projected),
    ("scaleIO", |source, _, path, errors| need(source, &["gateway", "system", "volumeName"], path, errors)),
    ("csi", csi),
    ("ephemeral", ephemeral),
    ("image", |source, _, path, errors| need(source, &["reference"], path, errors)),
];

fn validate_source(volume: &Value, path: &Path, errors: &mut Errors) {
    let mut count = 0;
    for (field, rule) in SOURCES {
        let source = volume.sub(field);
        if source.is_null() {
            continue;
        }
        if count > 0 {
            errors.forbidden(&path.child(field), ONE_TYPE);
        } else {
            rule(source, volume, &path.child(field), errors);
        }
        count += 1;
    }
    if count == 0 {
        errors.required(path, "must specify a volume type");
    }
}

fn need(source: &Value, fields: &[&str], path: &Path, errors: &mut Errors) {
    for field in fields {
        let empty = match source.sub(field) {
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            other => other.is_null(),
        };
        if empty {
            errors.required(&path.child(field), "");
        }
    }
}

fn empty_dir(source: &Value, _: &Value, path: &Path, errors: &mut Errors) {
    if let Some(limit) = quantity_of(source.sub("sizeLimit"))
        && limit.is_negative()
    {
        errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
    }
}

fn host_path(source: &Value, _: &Value, path: &Path, errors: &mut Errors) {
    const TYPES: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let host = source.text("path");
    if host.is_empty() {
        errors.required(&path.child("path"), "");
        return;
    }
    mounts::no_backsteps(host, &path.child("path"), errors);
    let kind = source.text("type");
    if !TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, TYPES);
    }
}

fn nfs(source: &Value, _: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["server", "path"], path, errors);
    let export = source.text("path");
    if !export.is_empty() && !export.starts_with('/') {
        errors.invalid(&path.child("path"), export, "must be an absolute path");
    }
}

fn secret(source: &Value, _: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["secretName"], path, errors);
    mode(source.int("defaultMode"), &path.child("defaultMode"), errors);
    key_items(source.items("items"), &path.child("items"), errors);
}

fn config_map(source: &Value, _: &Value, path: &Path, errors: &mut Errors) {
    need(source, &["name"], path, errors);
    mode(source.int("defaultMode"), &path.child("defaultMode"), errors);
    key_items(source.items("items"), &path.child("items"), errors);
}

fn key_items(items: &[Value], path: &Path, errors: &mut Errors) {
    for (index, item) in items.iter().enumerate() {
        let path = path.index(index);
        if item.text("key").is_empty() {
            errors.required(&path.child("key"), "");
        }
        file_path(item.text("path"), &path.child("path"), errors);
        mode(item.int("mode"), &path.child("mode"), errors);
    }
}

/// A file's path inside a volume: relative, without steps back, and not where the atomic writer keeps its links.
fn file_path(file: &str, path: &Path, errors: &mut Errors) {
    if file.is_empty() {
        errors.required(path, "");
        return;
    }
    mounts::local_descending_path(file, path, errors);
    if file.starts_with("..") && file.split('/').next() != Some("..") {
        errors.invalid(path, file, "must not start with '..'");
    }
}

fn mode(mode: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(mode) = mode.filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(path, mode, MODE_TEXT);
    }
}

fn downward_api(source: &Value, _: &Value, path: &Path, errors: &mut Errors) {
    mode(source.int("defaultMode"), &path.child("defaultMode"), errors);
    downward_items(source.items("items"), path, errors);
}

fn downward_items(files: &[Value], path: &Path, errors: &mut Errors) {
    for file in files {
        file_path(file.text("path"), &path.child("path"), errors);
        let (field, resource) = (file.sub("fieldRef"), file.sub("resourceFieldRef"));
        if !field.is_null() {
            downward::validate_field_ref(field, downward::VOLUME_FIELDS, &path.child("fieldRef"), errors);
            if !resource.is_null() {
                errors.invalid(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
        } else if !resource.is_null() {
            downward::validate_resource_ref(resource, true, &path.child("resourceFieldRef"), errors);
        } else {
            errors.required(path, "one of fieldRef and resourceFieldRef is required");
        }
        mode(file.int("mode"), &path.child("mode"), errors);
    }
}

fn projected(source: &Value, _: &Value, path: &Path, errors: &mut Errors) {
    mode(source.int("defaultMode"), &path.child("defaultMode"), errors);
    let sources_path = path.child("sources");
    let mut paths = std::collections::HashSet::new();
    for (index, source) in source.items("sources").iter().enumerate() {
        let path = sources_path.index(index);
        let mut count = 0;
        let mut written: Vec<&str> = Vec::new();
        for field in
            ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"]
        {
            let part = source.sub(field);
            if part.is_null() {
                continue;
            }
            if count > 0 {
                errors.forbidden(&path, ONE_TYPE);
                continue;
            }
            count += 1;
            let path = path.child(field);
            match field {
                "secret" | "configMap" => {
                    need(part, &["name"], &path, errors);
                    key_items(part.items("items"), &path.child("items"), errors);
                    written.extend(part.items("items").iter().map(|item| item.text("path")));
                }
                "downwardAPI" => {
                    downward_items(part.items("items"), &path, errors);
                    written.extend(part.items("items").iter().map(|item| item.text("path")));
                }
                "serviceAccountToken" => {
                    token(part, &path, errors);
                    written.push(part.text("path"));
                }
                _ => file_path(part.text("path"), &path.child("path"), errors),
            }
        }
        if count == 0 {
            errors.required(&path, "must specify a volume type");
        }
        for file in written {
            if !file.is_empty() && !paths.insert(file) {
                errors.invalid(&path, Value::Null, format!("conflicting duplicate paths: {file}"));
            }
        }
    }
}

fn token(source: &Value, path: &Path, errors: &mut Errors) {
    const SHORTEST: i64 = 10 * 60;
    const LONGEST: i64 = 1 << 32;
    let seconds = source.int("expirationSeconds").unwrap_or(3600);
    if seconds < SHORTEST {
        errors.invalid(&path.child("expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
    }
    if seconds > LONGEST {
        errors.invalid(
            &path.child("expirationSeconds"),
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        );
    }
    if source.text("path").is_empty() {
        errors.required(&path.child("path"), "");
    } else {
        mounts::local_descending_path(source.text("path"), &path.child("path"), errors);
    }
}

fn csi(source: &Value, _: &Value, path: &Path, errors: &mut Errors) {
    let driver = source.text("driver");
    if driver.is_empty() {
        errors.required(&path.child("driver"), "");
    } else {
        errors.messages(&path.child("driver"), driver, names::dns1123_subdomain(&driver.to_lowercase()));
    }
    if source.present("nodePublishSecretRef") && source.sub("nodePublishSecretRef").text("name").is_empty() {
        errors.required(&path.child("nodePublishSecretRef").child("name"), "");
    }
}

fn ephemeral(source: &Value, _: &Value, path: &Path, errors: &mut Errors) {
    let template = source.sub("volumeClaimTemplate");
    let path = path.child("volumeClaimTemplate");
    if template.is_null() {
        errors.required(&path, "");
        return;
    }
    let spec = template.sub("spec");
    let path = path.child("spec");
    if spec.items("accessModes").is_empty() {
        errors.required(&path.child("accessModes"), "at least 1 access mode is required");
    }
    match quantity_of(spec.at(&["resources", "requests", "storage"])) {
        None => errors.required(&path.child("resources").child("storage"), ""),
        Some(size) => non_negative_quantity(&size, &path.child("resources").child("requests").key("storage"), errors),
    }
}
