//! Every built-in kind against Kubernetes' own round-trip corpus: one object a kind with every field set, as JSON
//! and as protobuf. Decoding the one gives the other, and encoding gives the same bytes.
//!
//! The corpus is not part of this repository. Point KEELSON_API_TESTDATA at `testdata/HEAD` of a checkout of
//! github.com/kubernetes/api at the served version and run
//! `cargo nextest run -p keelson-objects --run-ignored all upstream_corpus`.

use std::path::PathBuf;
use std::{env, fs};

use keelson_objects::protobuf;
use keelson_objects::schema::{FieldValidation, builtin, decode};
use serde_json::Value;

#[test]
#[ignore = "needs a checkout of kubernetes/api; KEELSON_API_TESTDATA names its testdata/HEAD"]
fn every_kind_survives_both_ways() {
    let folder = PathBuf::from(env::var("KEELSON_API_TESTDATA").expect("KEELSON_API_TESTDATA is set"));
    let mut failures = Vec::new();
    let mut kinds = 0;
    let mut unknown = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let original: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
        let api_version = original["apiVersion"].as_str().unwrap_or_default();
        let kind = original["kind"].as_str().unwrap_or_default();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let Some(schema) = builtin().kind(group, version, kind) else {
            unknown.push(name);
            continue;
        };
        kinds += 1;
        let mut decoded = original.clone();
        match decode(&mut decoded, schema, FieldValidation::Strict) {
            Ok(_) if decoded == original => {}
            Ok(_) => failures.push(format!("{name}: decoding changed it: {}", difference(&original, &decoded))),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
        let message = fs::read(path.with_extension("pb")).expect("the protobuf form");
        match protobuf::decode(&message) {
            Ok(value) if value == original => {}
            Ok(value) => failures.push(format!("{name}: read as {}", difference(&original, &value))),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
        match protobuf::encode(&original) {
            Ok(bytes) if bytes == message => {}
            Ok(bytes) => failures.push(format!("{name}: other bytes: {} for {}", bytes.len(), message.len())),
            Err(error) => failures.push(format!("{name}: {error}")),
        }
    }
    assert!(failures.is_empty(), "{kinds} kinds, {} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(kinds > 100, "only {kinds} kinds found");
    println!("{kinds} kinds; not served: {unknown:?}");
}

/// The first place where two values differ.
fn difference(left: &Value, right: &Value) -> String {
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                match right.get(key) {
                    None => return format!("{key} is missing, {value}"),
                    Some(other) if other != value => return format!("{key}.{}", difference(value, other)),
                    Some(_) => {}
                }
            }
            let extra: Vec<_> = right.iter().filter(|(key, _)| !left.contains_key(*key)).collect();
            format!("extra {extra:?}")
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let found = left.iter().zip(right).find(|(left, right)| left != right);
            found.map(|(left, right)| format!("[] {}", difference(left, right))).unwrap_or_default()
        }
        _ => format!(" {left} is {right}"),
    }
}
