//! Prepares what the schema module embeds: the fact tables as one text, and the descriptions of types and fields.
//!
//! Descriptions are prose of the Kubernetes project; they are taken from the source of the crate `k8s-openapi`, which
//! the workspace depends on anyway, and embedded compressed. Reading its source takes a second, where compiling its
//! `schemars` feature for the build host would take minutes. Without them everything works but `kubectl explain`'s texts.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::Compression;
use flate2::write::DeflateEncoder;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    // A new version of the API brings new facts too, so this is enough to notice it; Cargo.lock changes far more often.
    println!("cargo::rerun-if-changed=facts");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("facts.txt"), join_facts(Path::new("facts"))?)?;
    let descriptions = match k8s_openapi_source() {
        Ok(source) => read_descriptions(&source.join("v1_36"))?,
        Err(problem) => {
            println!("cargo::warning=no API descriptions will be served: {problem}");
            String::new()
        }
    };
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(descriptions.as_bytes())?;
    fs::write(out.join("descriptions.deflate"), encoder.finish()?)?;
    Ok(())
}

fn join_facts(folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    let mut joined = String::new();
    for file in files {
        joined.push_str(&fs::read_to_string(file)?);
    }
    Ok(joined)
}

/// The folder `src` of k8s-openapi, as cargo resolved it for this workspace.
fn k8s_openapi_source() -> Result<PathBuf, Box<dyn Error>> {
    let ask = |offline: bool| {
        let mut command = Command::new(env::var("CARGO")?);
        command.args(["metadata", "--format-version=1", "--locked", "--filter-platform", &env::var("TARGET")?]);
        if offline {
            command.arg("--offline");
        }
        let output = command.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ").into());
        }
        Ok::<_, Box<dyn Error>>(String::from_utf8(output.stdout)?)
    };
    let metadata = ask(true).or_else(|_| ask(false))?;
    // One path is wanted of a large document, so it is searched for and not parsed.
    let mut rest = metadata.as_str();
    while let Some(start) = rest.find("\"manifest_path\":\"") {
        rest = &rest[start + "\"manifest_path\":\"".len()..];
        let path = Path::new(&rest[..rest.find('"').ok_or("unexpected metadata")?]);
        let folder = path.parent().ok_or("a manifest has a folder")?;
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name == "k8s-openapi" || name.starts_with("k8s-openapi-") {
            return Ok(folder.join("src"));
        }
    }
    Err("cargo metadata does not list k8s-openapi".into())
}

/// One line for each described type and field: `name<TAB>field or nothing<TAB>text`, escaped as in Rust source.
fn read_descriptions(folder: &Path) -> Result<String, Box<dyn Error>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                read_file(&fs::read_to_string(path)?, &mut found);
            }
        }
    }
    let mut lines = String::new();
    for ((name, field), text) in found {
        writeln!(lines, "{name}\t{field}\t{text}")?;
    }
    Ok(lines)
}

/// Follows the layout of the generated `JsonSchema` impls: the depth of a line says what it describes.
fn read_file(text: &str, found: &mut BTreeMap<(String, String), String>) {
    let mut name = String::new();
    let mut field = String::new();
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let trimmed = line.trim();
        match depth {
            8 if trimmed.starts_with("\"io.k8s.") && trimmed.ends_with("\".into()") => {
                name = trimmed.trim_start_matches('"').trim_end_matches("\".into()").to_owned();
                field.clear();
            }
            16 if trimmed.starts_with('"') => {
                if let Some((key, _)) = trimmed[1..].split_once("\": ") {
                    field = key.to_owned();
                }
            }
            _ => {}
        }
        let described = match depth {
            12 => trimmed.strip_prefix("\"description\": \"").and_then(|rest| rest.strip_suffix("\",")),
            20 => trimmed.strip_prefix("\"description\": \"").and_then(|rest| rest.strip_suffix("\",")).or_else(|| {
                let rest = trimmed.strip_prefix("schema_obj.ensure_object().insert(\"description\".into(), \"")?;
                rest.strip_suffix("\".into());")
            }),
            _ => None,
        };
        if let Some(text) = described.filter(|_| !name.is_empty()) {
            let of = if depth == 12 { String::new() } else { field.clone() };
            found.insert((name.clone(), of), text.to_owned());
        }
    }
}
