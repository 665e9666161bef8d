//! The rules of the house: who may depend on whom, and what stands at the top.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const COMPONENTS: [&str; 7] =
    ["raftstore", "apiserver", "controllers", "scheduler", "nodeagent", "cni-bridge", "keelson"];
const TOP: [&str; 17] = [
    ".cargo",
    ".ci",
    ".git",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "rustfmt.toml",
    "target",
    "tests",
    "proto",
    "deploy",
    "clippy.toml",
    ".config",
];

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the project")
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(top())
        .output()
        .expect("cargo runs");
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// Our packages with the paths of their manifests.
fn manifests() -> BTreeMap<String, String> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("there are packages");
    let text = |value: &Value| value.as_str().expect("a package has a name and a manifest").to_owned();
    packages.iter().map(|package| (text(&package["name"]), text(&package["manifest_path"]))).collect()
}

/// Our packages, each with those of ours that it depends on (not for its tests or its build).
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("there are packages");
    let name = |value: &Value| value["name"].as_str().expect("a package has a name").to_owned();
    let ours: BTreeSet<String> = packages.iter().map(name).collect();
    let needs = |package: &Value| {
        let all = package["dependencies"].as_array().expect("a package has dependencies");
        all.iter()
            .filter(|dependency| dependency["kind"].is_null())
            .map(name)
            .filter(|name| ours.contains(name))
            .collect()
    };
    packages.iter().map(|package| (name(package), needs(package))).collect()
}

#[test]
fn a_component_depends_on_crates_under_proto_and_on_no_other_component() {
    let dependencies = dependencies();
    for component in COMPONENTS {
        for needed in &dependencies[component] {
            assert!(needed.starts_with("keelson-"), "{component} depends on {needed}");
        }
    }
}

#[test]
fn the_common_ground_is_layered() {
    let dependencies = dependencies();
    let allowed: [(&str, &[&str]); 4] = [
        ("keelson-wire", &[]),
        ("keelson-objects", &[]),
        ("keelson-process", &[]),
        ("keelson-client", &["keelson-wire", "keelson-objects", "keelson-process"]),
    ];
    for (package, may) in allowed {
        for needed in &dependencies[package] {
            assert!(may.contains(&needed.as_str()), "{package} depends on {needed}");
        }
    }
}

#[test]
fn nothing_else_stands_at_the_top() {
    let components: BTreeSet<&str> = COMPONENTS.into_iter().filter(|name| *name != "keelson").collect();
    for entry in std::fs::read_dir(top()).expect("the project is readable") {
        let name = entry.expect("an entry").file_name();
        let name = name.to_str().expect("names are text");
        assert!(TOP.contains(&name) || components.contains(name), "{name} has no place at the top");
    }
}

#[test]
fn every_dependency_is_declared_once_in_the_workspace() {
    for (package, manifest) in manifests() {
        let manifest = std::fs::read_to_string(&manifest).expect("a manifest");
        let section = |line: &str| line.starts_with('[');
        let mut within = false;
        for line in manifest.lines() {
            if section(line) {
                within = line.contains("dependencies");
            } else if within && !line.trim().is_empty() && !line.starts_with('#') {
                assert!(line.contains("workspace = true"), "{package}: {line}");
            }
        }
    }
}
