//! Gathers the facts of Kubernetes' API types from Go sources into the tables beside this file.
//!
//! The tables hold what a schema needs and no prose: field names, types, protobuf numbers, list types and keys,
//! patch strategies, enum values. They are checked in; run this again when the served version changes:
//!
//! ```text
//! cargo run -p keelson-objects --example gather-facts -- SOURCES proto/objects/facts
//! ```
//!
//! SOURCES holds checkouts of the repositories `api`, `apimachinery`, `apiextensions-apiserver` and
//! `kube-aggregator` of github.com/kubernetes at the tag wanted (v0.36.2 for the tables at hand).
//! The format of a table is described in `README.md` beside this file.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use regex::Regex;

/// One Go package to read: folder, OpenAPI package, API group, version.
const PACKAGES: &[(&str, &str, &str)] = &[
    ("api/admission/v1", "admission.k8s.io", "v1"),
    ("api/admissionregistration/v1", "admissionregistration.k8s.io", "v1"),
    ("api/admissionregistration/v1alpha1", "admissionregistration.k8s.io", "v1alpha1"),
    ("api/admissionregistration/v1beta1", "admissionregistration.k8s.io", "v1beta1"),
    ("api/apidiscovery/v2", "apidiscovery.k8s.io", "v2"),
    ("api/apiserverinternal/v1alpha1", "internal.apiserver.k8s.io", "v1alpha1"),
    ("api/apps/v1", "apps", "v1"),
    ("api/authentication/v1", "authentication.k8s.io", "v1"),
    ("api/authorization/v1", "authorization.k8s.io", "v1"),
    ("api/autoscaling/v1", "autoscaling", "v1"),
    ("api/autoscaling/v2", "autoscaling", "v2"),
    ("api/batch/v1", "batch", "v1"),
    ("api/certificates/v1", "certificates.k8s.io", "v1"),
    ("api/certificates/v1alpha1", "certificates.k8s.io", "v1alpha1"),
    ("api/certificates/v1beta1", "certificates.k8s.io", "v1beta1"),
    ("api/coordination/v1", "coordination.k8s.io", "v1"),
    ("api/coordination/v1alpha2", "coordination.k8s.io", "v1alpha2"),
    ("api/coordination/v1beta1", "coordination.k8s.io", "v1beta1"),
    ("api/core/v1", "", "v1"),
    ("api/discovery/v1", "discovery.k8s.io", "v1"),
    ("api/events/v1", "events.k8s.io", "v1"),
    ("api/flowcontrol/v1", "flowcontrol.apiserver.k8s.io", "v1"),
    ("api/networking/v1", "networking.k8s.io", "v1"),
    ("api/networking/v1beta1", "networking.k8s.io", "v1beta1"),
    ("api/node/v1", "node.k8s.io", "v1"),
    ("api/policy/v1", "policy", "v1"),
    ("api/rbac/v1", "rbac.authorization.k8s.io", "v1"),
    ("api/resource/v1", "resource.k8s.io", "v1"),
    ("api/resource/v1alpha3", "resource.k8s.io", "v1alpha3"),
    ("api/resource/v1beta1", "resource.k8s.io", "v1beta1"),
    ("api/resource/v1beta2", "resource.k8s.io", "v1beta2"),
    ("api/scheduling/v1", "scheduling.k8s.io", "v1"),
    ("api/scheduling/v1alpha2", "scheduling.k8s.io", "v1alpha2"),
    ("api/storage/v1", "storage.k8s.io", "v1"),
    ("api/storage/v1beta1", "storage.k8s.io", "v1beta1"),
    ("api/storagemigration/v1beta1", "storagemigration.k8s.io", "v1beta1"),
    ("apiextensions-apiserver/pkg/apis/apiextensions/v1", "apiextensions.k8s.io", "v1"),
    ("apimachinery/pkg/apis/meta/v1", "meta.k8s.io", "v1"),
    ("kube-aggregator/pkg/apis/apiregistration/v1", "apiregistration.k8s.io", "v1"),
];

/// Go types with an encoding of their own; the model knows them by these names.
const SPECIAL: &[(&str, &str)] = &[
    ("k8s.io/apimachinery/pkg/api/resource.Quantity", "Quantity"),
    ("k8s.io/apimachinery/pkg/util/intstr.IntOrString", "IntOrString"),
    ("k8s.io/apimachinery/pkg/runtime.RawExtension", "RawExtension"),
    ("k8s.io/apimachinery/pkg/runtime.Object", "RawExtension"),
    ("k8s.io/apimachinery/pkg/types.UID", "UID"),
    ("k8s.io/apimachinery/pkg/types.NodeName", "NodeName"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.Time", "Time"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.MicroTime", "MicroTime"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.Duration", "Duration"),
    ("k8s.io/apimachinery/pkg/apis/meta/v1.FieldsV1", "FieldsV1"),
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSON", "JSON"),
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrArray", "JSONSchemaPropsOrArray"),
    ("k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrBool", "JSONSchemaPropsOrBool"),
    (
        "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.JSONSchemaPropsOrStringArray",
        "JSONSchemaPropsOrStringArray",
    ),
];

const BASIC: &[&str] = &["string", "bool", "int", "int32", "int64", "float64", "byte"];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, sources, target] = arguments.as_slice() else {
        return Err("usage: gather-facts SOURCES TARGET".into());
    };
    for (folder, group, version) in PACKAGES {
        let table = Package::read(Path::new(sources), folder)?.table(group, version)?;
        fs::write(Path::new(target).join(format!("{}.txt", short_key(folder))), table)?;
    }
    Ok(())
}

/// `core.v1` for `api/core/v1`.
fn short_key(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    parts[parts.len() - 2..].join(".")
}

#[derive(Default)]
struct Package {
    path: String,
    structs: BTreeMap<String, Struct>,
    named: BTreeMap<String, Named>,
    constants: Vec<Constant>,
}

#[derive(Default)]
struct Struct {
    is_kind: bool,
    is_atomic: bool,
    fields: Vec<String>,
}

struct Named {
    is_enum: bool,
    underlying: String,
}

/// `NAME TYPE = "VALUE"` of a const block.
struct Constant {
    name: String,
    of: String,
    value: String,
}

impl Package {
    fn read(sources: &Path, folder: &str) -> Result<Package, Box<dyn Error>> {
        let mut package = Package { path: format!("k8s.io/{folder}"), ..Package::default() };
        let mut files: Vec<PathBuf> = fs::read_dir(sources.join(folder))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_, std::io::Error>>()?;
        files.sort();
        for file in files {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let wanted = name.starts_with("types") || matches!(name, "watch.go" | "group_version.go");
            if wanted && name.ends_with(".go") && !name.contains("_test") && !name.contains("generated") {
                package.read_file(&fs::read_to_string(&file)?)?;
            }
        }
        Ok(package)
    }

    fn read_file(&mut self, text: &str) -> Result<(), Box<dyn Error>> {
        let import = Regex::new(r#"^\s*(?:import\s+)?(\w+\s+)?"(k8s\.io/[^"]+)"$"#)?;
        let struct_start = Regex::new(r"^type (\w+) struct \{$")?;
        let empty_struct = Regex::new(r"^type (\w+) struct ?\{\}$")?;
        let named = Regex::new(r"^type (\w+) (=\s*)?([\w\[\]\.\*]+)$")?;
        let constant = Regex::new(r#"^\s+(\w+)\s+(\w+)\s+=\s+"([^"]*)""#)?;
        let converted = Regex::new(r#"^\s+(\w+)\s+=\s+(\w+)\("([^"]*)"\)"#)?;
        let mut imports = BTreeMap::new();
        let mut markers = Vec::new();
        let mut blank_after_markers = false;
        let mut inside: Option<(String, Struct)> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if let Some(comment) = trimmed.strip_prefix("//") {
                if blank_after_markers && inside.is_some() {
                    markers.clear();
                }
                blank_after_markers = false;
                if let Some(marker) = comment.trim().strip_prefix('+') {
                    markers.push(marker.to_owned());
                }
                continue;
            }
            if trimmed.is_empty() {
                // A marker block stands apart from its type by one empty line at times.
                blank_after_markers = true;
                continue;
            }
            if let Some((name, mut current)) = inside.take() {
                if line == "}" {
                    self.structs.insert(name, current);
                } else {
                    if let Some(field) = self.field(trimmed, &markers, &imports)? {
                        current.fields.push(field);
                    }
                    inside = Some((name, current));
                }
            } else if let Some(found) = struct_start.captures(line) {
                let current = Struct {
                    is_kind: markers
                        .iter()
                        .any(|marker| marker.contains("interfaces=k8s.io/apimachinery/pkg/runtime.Object")),
                    is_atomic: markers.iter().any(|marker| marker == "structType=atomic"),
                    fields: Vec::new(),
                };
                inside = Some((found[1].to_owned(), current));
            } else if let Some(found) = empty_struct.captures(line) {
                self.structs.insert(found[1].to_owned(), Struct::default());
            } else if let Some(found) = import.captures(line) {
                let path = found[2].to_owned();
                let last = path.rsplit('/').next().unwrap_or_default().to_owned();
                let alias = found.get(1).map_or(last, |alias| alias.as_str().trim().to_owned());
                imports.insert(alias, path);
            } else if let Some(found) = named.captures(line) {
                let is_enum = markers.iter().any(|marker| marker == "enum");
                let underlying = self.go_type(&found[3], &imports)?;
                self.named.insert(found[1].to_owned(), Named { is_enum, underlying });
            } else if let Some(found) = constant.captures(line).or_else(|| converted.captures(line)) {
                self.constants.push(Constant {
                    name: found[1].to_owned(),
                    of: found[2].to_owned(),
                    value: found[3].to_owned(),
                });
            }
            markers.clear();
            blank_after_markers = false;
        }
        Ok(())
    }

    /// One field of a struct as one line of the table; `None` for what JSON does not carry.
    fn field(
        &self,
        line: &str,
        markers: &[String],
        imports: &BTreeMap<String, String>,
    ) -> Result<Option<String>, Box<dyn Error>> {
        let shape = Regex::new(r"^(?:(\w+)\s+)?([\w\[\]\.\*]+)\s+`([^`]*)`")?;
        let Some(found) = shape.captures(line) else { return Ok(None) };
        let tags = &found[3];
        let json = tag(tags, "json").unwrap_or_default();
        let mut json = json.split(',');
        let name = json.next().unwrap_or_default();
        if name == "-" {
            return Ok(None);
        }
        let options: BTreeSet<&str> = json.collect();
        let go_type = self.go_type(&found[2], imports)?;
        let number = tag(tags, "protobuf").and_then(|tag| tag.split(',').nth(1).map(str::to_owned));
        if options.contains("inline") || name.is_empty() {
            return Ok(Some(match number {
                None if go_type.ends_with("TypeMeta") => "+TypeMeta".to_owned(),
                None => format!("- 0 {go_type} inline"),
                Some(number) => format!("- {number} {go_type} inline"),
            }));
        }
        let mut out = format!("{name} {} {go_type}", number.unwrap_or_else(|| "0".to_owned()));
        if options.contains("omitempty") {
            out.push_str(" ?");
        }
        if options.contains("omitzero") {
            out.push_str(" ~");
        }
        let value = |key: &str| markers.iter().find_map(|marker| marker.strip_prefix(key)?.strip_prefix('='));
        if markers.iter().any(|marker| marker == "optional") {
            out.push_str(" optional");
        }
        if markers.iter().any(|marker| marker == "required" || marker == "k8s:required") {
            out.push_str(" required");
        }
        match value("listType") {
            Some("map") => {
                let keys: Vec<&str> = markers.iter().filter_map(|marker| marker.strip_prefix("listMapKey=")).collect();
                write!(out, " list=map:{}", keys.join(","))?;
            }
            Some(kind) => write!(out, " list={kind}")?,
            None => {}
        }
        if value("mapType") == Some("atomic") {
            out.push_str(" atomic");
        }
        if value("structType") == Some("atomic") {
            out.push_str(" atomic");
        }
        let strategy = tag(tags, "patchStrategy");
        let key = tag(tags, "patchMergeKey");
        if strategy.is_some() || key.is_some() {
            write!(out, " patch={}:{}", strategy.unwrap_or_default(), key.unwrap_or_default())?;
        }
        if let Some(default) = value("default") {
            write!(out, " default={default}")?;
        }
        Ok(Some(out))
    }

    fn go_type(&self, text: &str, imports: &BTreeMap<String, String>) -> Result<String, Box<dyn Error>> {
        if let Some(rest) = text.strip_prefix('*') {
            return Ok(format!("*{}", self.go_type(rest, imports)?));
        }
        if let Some(rest) = text.strip_prefix("[]") {
            return Ok(format!("[]{}", self.go_type(rest, imports)?));
        }
        if let Some(rest) = text.strip_prefix("map[") {
            let end = rest.find(']').ok_or("map without end of key")?;
            return Ok(format!("map[string]{}", self.go_type(&rest[end + 1..], imports)?));
        }
        if BASIC.contains(&text) {
            return Ok(text.to_owned());
        }
        let (package, name) = match text.split_once('.') {
            None => (self.path.clone(), text),
            Some((alias, name)) => {
                (imports.get(alias).ok_or_else(|| format!("{}: no import {alias}", self.path))?.clone(), name)
            }
        };
        let full = format!("{package}.{name}");
        if let Some((_, special)) = SPECIAL.iter().find(|(go, _)| *go == full) {
            return Ok((*special).to_owned());
        }
        if package == self.path {
            return Ok(name.to_owned());
        }
        Ok(format!("{}/{name}", short_key(&package)))
    }

    /// Markers name some defaults by constant, `default=ref(NAME)`; the table holds the value.
    fn resolve_default(&self, field: &str) -> Result<String, Box<dyn Error>> {
        let Some((before, name)) = field.split_once(" default=ref(") else { return Ok(field.to_owned()) };
        let name = name.trim_end_matches(')');
        let found = self.constants.iter().find(|constant| constant.name == name);
        Ok(format!("{before} default={:?}", found.ok_or_else(|| format!("no constant {name}"))?.value))
    }

    fn table(&self, group: &str, version: &str) -> Result<String, Box<dyn Error>> {
        let parts: Vec<&str> = self.path.trim_start_matches("k8s.io/").split('/').collect();
        let mut out = String::new();
        writeln!(out, "package io.k8s.{}", parts.join("."))?;
        writeln!(out, "group {} {version}", if group.is_empty() { "-" } else { group })?;
        let special: BTreeSet<&str> = SPECIAL
            .iter()
            .filter(|(go, _)| go.rsplit_once('.').is_some_and(|(package, _)| package == self.path))
            .map(|(_, name)| *name)
            .collect();
        for (name, named) in &self.named {
            if special.contains(name.as_str()) || named.underlying.starts_with("pkg.") {
                continue;
            }
            write!(out, "named {name} {}", named.underlying)?;
            if named.is_enum && named.underlying == "string" {
                let values: BTreeSet<&str> =
                    self.constants.iter().filter(|found| found.of == *name).map(|found| found.value.as_str()).collect();
                let values: Vec<String> = values.into_iter().map(|value| format!("{value:?}")).collect();
                write!(out, " [{}]", values.join(","))?;
            }
            out.push('\n');
        }
        for (name, definition) in &self.structs {
            if special.contains(name.as_str()) {
                continue;
            }
            write!(out, "struct {name}")?;
            if definition.is_kind {
                out.push_str(" kind");
            }
            if definition.is_atomic {
                out.push_str(" atomic");
            }
            out.push('\n');
            for field in &definition.fields {
                writeln!(out, " {}", self.resolve_default(field)?)?;
            }
        }
        Ok(out)
    }
}

/// The value of one key of a Go struct tag.
fn tag(tags: &str, key: &str) -> Option<String> {
    let rest = &tags[tags.find(&format!("{key}:\""))? + key.len() + 2..];
    Some(rest[..rest.find('"')?].to_owned())
}
