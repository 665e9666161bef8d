//! `--config` with a KubeletConfiguration (kubelet.config.k8s.io/v1beta1): its fields become the flags of the same
//! meaning, placed before those of the command line, so that the command line wins.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the configuration file {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {path} is not YAML: {reason}")]
    Form { path: PathBuf, reason: String },
    #[error("the KubeletConfiguration {path} has a field that this agent does not know: {field}")]
    Unknown { path: PathBuf, field: String },
    #[error("the KubeletConfiguration {path} has a duration in {field} that is none: {value}")]
    Duration { path: PathBuf, field: String, value: String },
}

/// A field and the flag that it means.
const FIELDS: &[(&str, &str)] = &[
    ("address", "address"),
    ("cgroupRoot", "cgroup-root"),
    ("clusterDNS", "cluster-dns"),
    ("clusterDomain", "cluster-domain"),
    ("containerLogMaxFiles", "container-log-max-files"),
    ("containerLogMaxSize", "container-log-max-size"),
    ("containerRuntimeEndpoint", "container-runtime-endpoint"),
    ("healthzBindAddress", "healthz-bind-address"),
    ("healthzPort", "healthz-port"),
    ("kubeReserved", "kube-reserved"),
    ("maxParallelImagePulls", "max-parallel-image-pulls"),
    ("maxPods", "max-pods"),
    ("podLogsDir", "pod-logs-dir"),
    ("port", "port"),
    ("resolvConf", "resolv-conf"),
    ("systemReserved", "system-reserved"),
    ("tlsCertFile", "tls-cert-file"),
    ("tlsPrivateKeyFile", "tls-private-key-file"),
];

/// The arguments with a KubeletConfiguration's fields in the place of its `--config`; other arguments, and configuration
/// files of flag names, are left as they are.
pub fn expand(arguments: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let Some((path, rest)) = take_config(&arguments) else { return Ok(arguments) };
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    let document: Value = serde_yaml_ng::from_str(&text)
        .map_err(|error| Error::Form { path: path.clone(), reason: error.to_string() })?;
    if document.get("kind").and_then(Value::as_str) != Some("KubeletConfiguration") {
        return Ok(arguments);
    }
    let mut expanded: Vec<OsString> = rest.first().cloned().into_iter().collect();
    expanded.extend(flags(&path, &document)?.into_iter().map(OsString::from));
    expanded.extend(rest.into_iter().skip(1));
    Ok(expanded)
}

/// The path that `--config` names, and the arguments without it.
fn take_config(arguments: &[OsString]) -> Option<(PathBuf, Vec<OsString>)> {
    let mut path = None;
    let mut rest = Vec::with_capacity(arguments.len());
    let mut all = arguments.iter();
    while let Some(argument) = all.next() {
        let text = argument.to_string_lossy();
        if text == "--config" {
            path = all.next().map(PathBuf::from);
        } else if let Some(value) = text.strip_prefix("--config=") {
            path = Some(PathBuf::from(value));
        } else {
            rest.push(argument.clone());
        }
    }
    Some((path?, rest))
}

fn flags(path: &Path, document: &Value) -> Result<Vec<String>, Error> {
    let mut flags = Vec::new();
    for (field, value) in document.as_object().into_iter().flatten() {
        match field.as_str() {
            "apiVersion" | "kind" => {}
            "authentication" => {
                if let Some(file) = value.pointer("/x509/clientCAFile").and_then(Value::as_str) {
                    flags.push(format!("--client-ca-file={file}"));
                }
            }
            "evictionHard" => flags.push(format!("--eviction-hard={}", pairs(value, "<"))),
            "registerWithTaints" => {
                let taints = value.as_array().into_iter().flatten().map(|taint| {
                    let part = |name: &str| taint.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                    format!("{}={}:{}", part("key"), part("value"), part("effect"))
                });
                flags.push(format!("--register-with-taints={}", taints.collect::<Vec<_>>().join(",")));
            }
            "nodeStatusUpdateFrequency" => {
                let seconds = value.as_str().and_then(seconds).ok_or_else(|| Error::Duration {
                    path: path.to_owned(),
                    field: field.clone(),
                    value: text(value),
                })?;
                flags.push(format!("--node-status-update-frequency={seconds}"));
            }
            known => {
                let flag = FIELDS
                    .iter()
                    .find(|(name, _)| *name == known)
                    .map(|(_, flag)| flag)
                    .ok_or_else(|| Error::Unknown { path: path.to_owned(), field: known.to_owned() })?;
                flags.push(format!("--{flag}={}", text(value)));
            }
        }
    }
    Ok(flags)
}

/// Whole seconds of a duration as Go writes it: `10s`, `1m30s`, `1h`.
fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut total = 0;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|sign: char| !sign.is_ascii_digit())?);
        let unit = match after.chars().next()? {
            's' => 1,
            'm' if !after.starts_with("ms") => 60,
            'h' => 3600,
            _ => return None,
        };
        total += number.parse::<u64>().ok()?.checked_mul(unit)?;
        rest = &after[1..];
    }
    (total > 0).then_some(total)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        Value::Object(_) => pairs(value, "="),
        other => other.to_string(),
    }
}

fn pairs(value: &Value, sign: &str) -> String {
    let pairs = value.as_object().into_iter().flatten();
    pairs.map(|(name, value)| format!("{name}{sign}{}", text(value))).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(file: &str) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, file).expect("written");
        let arguments = vec!["nodeagent".into(), format!("--config={}", path.display()).into(), "--port=1".into()];
        let expanded = expand(arguments).map_err(|error| error.to_string())?;
        Ok(expanded.into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect())
    }

    #[test]
    fn fields_become_flags_before_those_of_the_command_line() {
        let file = "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\nport: 10260\n\
            clusterDNS: [10.96.0.10]\nevictionHard: {memory.available: 50Mi}\nauthentication: {x509: {clientCAFile: /ca}}\n";
        let want = [
            "nodeagent",
            "--port=10260",
            "--cluster-dns=10.96.0.10",
            "--eviction-hard=memory.available<50Mi",
            "--client-ca-file=/ca",
            "--port=1",
        ];
        assert_eq!(expanded(file), Ok(want.map(str::to_owned).to_vec()));
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, want) in
            [("10s", Some(10)), ("1m30s", Some(90)), ("1h", Some(3600)), ("0s", None), ("10ms", None), ("x", None)]
        {
            assert_eq!(seconds(text), want, "{text}");
        }
    }

    #[test]
    fn unknown_fields_are_named_and_other_files_are_left_alone() {
        let error = expanded("kind: KubeletConfiguration\nnoSuch: 1\n").expect_err("refused");
        assert!(error.contains("noSuch"), "{error}");
        assert_eq!(expanded("port: 5\n").map(|arguments| arguments.len()), Ok(3));
    }
}
