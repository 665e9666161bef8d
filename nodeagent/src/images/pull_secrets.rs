//! Registry credentials from imagePullSecrets: `kubernetes.io/dockerconfigjson` and the older `kubernetes.io/dockercfg`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;

use super::reference::Reference;
use crate::runtime::RegistryAuth;

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Clone, Default, Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, alias = "identitytoken", alias = "registrytoken")]
    token: String,
}

/// The credentials in `secrets` that fit an image, the most specific first; without any, the pull is anonymous.
pub fn for_image<'a>(image: &Reference, secrets: impl Iterator<Item = &'a Secret>) -> Vec<RegistryAuth> {
    let repository = image.repository();
    let mut fitting: Vec<(usize, RegistryAuth)> = secrets
        .flat_map(entries)
        .filter(|(pattern, _)| fits(pattern, &repository))
        .filter_map(|(pattern, entry)| Some((pattern.len(), credentials(&entry)?)))
        .collect();
    fitting.sort_by_key(|(length, _)| std::cmp::Reverse(*length));
    fitting.into_iter().map(|(_, auth)| auth).collect()
}

fn entries(secret: &Secret) -> BTreeMap<String, Entry> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    // A secret that is not what its type says gives no credentials; the registry's refusal tells the rest.
    let entries = match secret.type_.as_deref() {
        Some("kubernetes.io/dockercfg") => data(".dockercfg").and_then(|text| serde_json::from_slice(text).ok()),
        _ => data(".dockerconfigjson")
            .and_then(|text| serde_json::from_slice::<DockerConfig>(text).ok())
            .map(|config| config.auths),
    };
    let entries: BTreeMap<String, Entry> = entries.unwrap_or_default();
    entries.into_iter().map(|(server, entry)| (normalize(&server), entry)).collect()
}

/// `https://index.docker.io/v1/` and the like as `host[:port][/path]`.
fn normalize(server: &str) -> String {
    let server = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://")).unwrap_or(server);
    let server = server.trim_end_matches('/');
    let server = server.strip_suffix("/v1").or_else(|| server.strip_suffix("/v2")).unwrap_or(server);
    match server {
        "index.docker.io" | "registry-1.docker.io" | "docker.io" => "docker.io".to_owned(),
        other => other.strip_prefix("index.docker.io/").map_or(other.to_owned(), |path| format!("docker.io/{path}")),
    }
}

/// Host by host label (`*` stands for one label), then the path as a prefix.
fn fits(pattern: &str, repository: &str) -> bool {
    let (pattern_host, pattern_path) = pattern.split_once('/').unwrap_or((pattern, ""));
    let (host, path) = repository.split_once('/').unwrap_or((repository, ""));
    let (pattern_name, pattern_port) = pattern_host.split_once(':').unwrap_or((pattern_host, ""));
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let pattern_labels: Vec<&str> = pattern_name.split('.').collect();
    let labels: Vec<&str> = name.split('.').collect();
    let hosts_fit = pattern_labels.len() == labels.len()
        && pattern_labels.iter().zip(&labels).all(|(pattern, label)| label_fits(pattern, label));
    let path_fits = pattern_path.is_empty() || path == pattern_path || path.starts_with(&format!("{pattern_path}/"));
    pattern_port == port && hosts_fit && path_fits
}

/// `*` stands for any run of characters within the label.
fn label_fits(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == label,
        Some((head, tail)) => {
            label.len() >= head.len() + tail.len() && label.starts_with(head) && label.ends_with(tail)
        }
    }
}

fn credentials(entry: &Entry) -> Option<RegistryAuth> {
    if !entry.token.is_empty() {
        return Some(RegistryAuth::Bearer { token: entry.token.clone() });
    }
    if !entry.username.is_empty() {
        return Some(RegistryAuth::Basic { username: entry.username.clone(), password: entry.password.clone() });
    }
    let decoded = STANDARD.decode(entry.auth.trim()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(RegistryAuth::Basic { username: username.to_owned(), password: password.trim_end_matches('\0').to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use serde_json::json;

    fn secret(auths: serde_json::Value) -> Secret {
        let config = json!({ "auths": auths }).to_string().into_bytes();
        Secret {
            type_: Some("kubernetes.io/dockerconfigjson".to_owned()),
            data: Some(BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(config))])),
            ..Secret::default()
        }
    }

    fn users(image: &str, auths: serde_json::Value) -> Vec<String> {
        let image = Reference::parse(image).expect("a reference");
        let secret = secret(auths);
        for_image(&image, std::iter::once(&secret))
            .into_iter()
            .map(|auth| match auth {
                RegistryAuth::Basic { username, password } => format!("{username}:{password}"),
                other => format!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn credentials_are_found_by_registry_and_path() {
        let auth = STANDARD.encode("ann:s3:cret");
        let table = [
            ("nginx", json!({"https://index.docker.io/v1/": {"auth": auth}}), vec!["ann:s3:cret"]),
            ("127.0.0.1:5000/app", json!({"127.0.0.1:5000": {"username": "u", "password": "p"}}), vec!["u:p"]),
            ("127.0.0.1:5001/app", json!({"127.0.0.1:5000": {"username": "u", "password": "p"}}), vec![]),
            ("a.example.com/x/y", json!({"*.example.com": {"username": "u", "password": "p"}}), vec!["u:p"]),
            (
                "r.example.com/team/app",
                json!({"r.example.com": {"username": "all", "password": "1"},
                    "r.example.com/team": {"username": "team", "password": "2"},
                    "r.example.com/tea": {"username": "no", "password": "3"}}),
                vec!["team:2", "all:1"],
            ),
            ("nginx", json!({"docker.io": {"auth": "not base64!"}}), vec![]),
        ];
        for (image, auths, want) in table {
            assert_eq!(users(image, auths.clone()), want, "{image} {auths}");
        }
    }

    #[test]
    fn a_secret_of_another_form_gives_nothing() {
        let image = Reference::parse("nginx").expect("a reference");
        let broken = Secret {
            data: Some(BTreeMap::from([(".dockerconfigjson".to_owned(), ByteString(b"{".to_vec()))])),
            ..Secret::default()
        };
        assert!(for_image(&image, [&Secret::default(), &broken].into_iter()).is_empty());
    }
}
