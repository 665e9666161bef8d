//! What the files of a ConfigMap, Secret, downward API or projected volume are: sources in, files out, no I/O.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, Volume, VolumeProjection};

use super::atomic_writer::{File, Payload};
use crate::environment::ConfigError;
use crate::environment::fields::{self, Surroundings};
use crate::environment::variables::Sources;
use crate::pods::spec;

const DEFAULT_MODE: i32 = 0o644;

/// A token that a projected volume asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenRequest {
    /// Empty: the API server's own audience.
    pub audience: String,
    pub expiration_seconds: i64,
}

/// The tokens that a pod's volumes ask for.
pub fn token_requests(pod: &Pod) -> Vec<TokenRequest> {
    let volumes = spec::spec(pod).volumes.iter().flatten();
    let sources = volumes.filter_map(|volume| volume.projected.as_ref()).flat_map(|p| p.sources.iter().flatten());
    let mut requests: Vec<TokenRequest> =
        sources.filter_map(|source| source.service_account_token.as_ref()).map(token_request).collect();
    requests.sort();
    requests.dedup();
    requests
}

fn token_request(source: &k8s_openapi::api::core::v1::ServiceAccountTokenProjection) -> TokenRequest {
    TokenRequest {
        audience: source.audience.clone().unwrap_or_default(),
        expiration_seconds: source.expiration_seconds.unwrap_or(3600),
    }
}

/// The files of one volume, or why they cannot be known now.
pub type Files = Result<Payload, ConfigError>;

/// Where a volume's content comes from.
pub struct Origin<'a> {
    pub pod: &'a Pod,
    pub sources: &'a dyn Sources,
    pub around: Surroundings<'a>,
    pub tokens: &'a BTreeMap<TokenRequest, String>,
}

impl Origin<'_> {
    /// The files of a volume whose content is made by the agent; `None` for every other kind of volume.
    pub fn files(&self, volume: &Volume) -> Option<Files> {
        let files = if let Some(source) = &volume.config_map {
            let optional = source.optional.unwrap_or(false);
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            self.config_map(&source.name, source.items.as_deref(), optional, mode)
        } else if let Some(source) = &volume.secret {
            let optional = source.optional.unwrap_or(false);
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            let name = source.secret_name.as_deref().unwrap_or_default();
            self.secret(name, source.items.as_deref(), optional, mode)
        } else if let Some(source) = &volume.downward_api {
            self.downward(source.items.as_deref(), source.default_mode.unwrap_or(DEFAULT_MODE))
        } else if let Some(source) = &volume.projected {
            let mode = source.default_mode.unwrap_or(DEFAULT_MODE);
            self.projected(source.sources.as_deref().unwrap_or_default(), mode)
        } else {
            return None;
        };
        Some(files.map(|files| self.owned(files)))
    }

    fn projected(&self, sources: &[VolumeProjection], mode: i32) -> Result<Payload, ConfigError> {
        let mut all = Payload::new();
        for source in sources {
            if let Some(part) = &source.config_map {
                let optional = part.optional.unwrap_or(false);
                all.extend(self.config_map(&part.name, part.items.as_deref(), optional, mode)?);
            }
            if let Some(part) = &source.secret {
                let optional = part.optional.unwrap_or(false);
                all.extend(self.secret(&part.name, part.items.as_deref(), optional, mode)?);
            }
            if let Some(part) = &source.downward_api {
                all.extend(self.downward(part.items.as_deref(), mode)?);
            }
            if let Some(part) = &source.service_account_token {
                let token = self.tokens.get(&token_request(part)).ok_or_else(|| {
                    ConfigError("failed to fetch token: the API server has not issued one yet".to_owned())
                })?;
                let mut token = file(token.as_bytes().to_vec(), mode);
                self.guard_token(&mut token);
                all.insert(part.path.clone(), token);
            }
            if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
                return Err(ConfigError(
                    "clusterTrustBundle and podCertificate projections are not supported on this node".to_owned(),
                ));
            }
        }
        Ok(all)
    }

    fn config_map(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: bool,
        mode: i32,
    ) -> Result<Payload, ConfigError> {
        let map = match self.sources.config_map(name) {
            Some(map) => map,
            None if optional => return Ok(Payload::new()),
            None => return Err(ConfigError(format!("configmap \"{name}\" not found"))),
        };
        select(&config_map_data(&map), items, mode, optional)
            .map_err(|key| ConfigError(format!("configmap references non-existent config key: {key}")))
    }

    fn secret(
        &self,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: bool,
        mode: i32,
    ) -> Result<Payload, ConfigError> {
        let secret = match self.sources.secret(name) {
            Some(secret) => secret,
            None if optional => return Ok(Payload::new()),
            None => return Err(ConfigError(format!("secret \"{name}\" not found"))),
        };
        select(&secret_data(&secret), items, mode, optional)
            .map_err(|key| ConfigError(format!("references non-existent secret key: {key}")))
    }

    fn downward(&self, items: Option<&[DownwardAPIVolumeFile]>, mode: i32) -> Result<Payload, ConfigError> {
        let mut files = Payload::new();
        for item in items.unwrap_or_default() {
            let text = if let Some(reference) = &item.field_ref {
                fields::field(self.pod, &reference.field_path, &self.around)?
            } else if let Some(reference) = &item.resource_field_ref {
                fields::resource(self.pod, None, reference, &self.around)?
            } else {
                continue;
            };
            files.insert(item.path.clone(), file(text.into_bytes(), item.mode.unwrap_or(mode)));
        }
        Ok(files)
    }

    /// A token is for the pod's user alone where that can be told, and readable by all in the pod where it cannot.
    fn guard_token(&self, token: &mut File) {
        let security = spec::spec(self.pod).security_context.as_ref();
        let group = security.and_then(|security| security.fs_group);
        let user = sole_user(self.pod);
        if user.is_some() || group.is_some() {
            token.mode = 0o600;
        }
        token.user = user.and_then(|user| u32::try_from(user).ok());
    }

    /// fsGroup: the group owns the files and may read them.
    fn owned(&self, mut files: Payload) -> Payload {
        let security = spec::spec(self.pod).security_context.as_ref();
        let Some(group) = security.and_then(|security| security.fs_group).and_then(|group| u32::try_from(group).ok())
        else {
            return files;
        };
        for file in files.values_mut() {
            file.group = Some(group);
            file.mode |= 0o440;
        }
        files
    }
}

/// The user that every container of the pod runs as, if the spec says one and the same for all.
fn sole_user(pod: &Pod) -> Option<i64> {
    let of_pod = spec::spec(pod).security_context.as_ref().and_then(|security| security.run_as_user);
    let mut users = spec::all_containers(pod)
        .map(|(container, _)| container.security_context.as_ref().and_then(|s| s.run_as_user).or(of_pod));
    let first = users.next()??;
    users.all(|user| user == Some(first)).then_some(first)
}

fn file(data: Vec<u8>, mode: i32) -> File {
    File { data, mode: u32::try_from(mode & 0o777).unwrap_or(0o644), user: None, group: None }
}

fn config_map_data(map: &ConfigMap) -> BTreeMap<&str, &[u8]> {
    let text = map.data.iter().flatten().map(|(key, value)| (key.as_str(), value.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()));
    text.chain(binary).collect()
}

fn secret_data(secret: &Secret) -> BTreeMap<&str, &[u8]> {
    secret.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice())).collect()
}

/// All keys under their own names, or the items that are asked for; the error is the first key that is not there.
fn select(
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    mode: i32,
    optional: bool,
) -> Result<Payload, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(data.iter().map(|(key, value)| ((*key).to_owned(), file(value.to_vec(), mode))).collect());
    };
    let mut files = Payload::new();
    for item in items {
        match data.get(item.key.as_str()) {
            Some(value) => {
                files.insert(item.path.clone(), file(value.to_vec(), item.mode.unwrap_or(mode)));
            }
            None if optional => {}
            None => return Err(item.key.clone()),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::json;

    struct Fixed;

    impl Sources for Fixed {
        fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
            let map = json!({"data": {"a": "1"}, "binaryData": {"b": "Ag=="}});
            (name == "cm").then(|| Arc::new(serde_json::from_value(map).expect("a config map")))
        }

        fn secret(&self, name: &str) -> Option<Arc<Secret>> {
            (name == "s").then(|| Arc::new(serde_json::from_value(json!({"data": {"k": "dg=="}})).expect("a secret")))
        }
    }

    fn files(
        volume: serde_json::Value,
        security: serde_json::Value,
    ) -> Result<BTreeMap<String, (String, u32)>, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c"}], "securityContext": security}
        }))
        .expect("a pod");
        let volume: Volume = serde_json::from_value(volume).expect("a volume");
        let allocatable = BTreeMap::new();
        let tokens =
            BTreeMap::from([(TokenRequest { audience: String::new(), expiration_seconds: 3607 }, "jwt".to_owned())]);
        let around = Surroundings { pod_ips: &[], host_ips: &[], allocatable: &allocatable };
        let origin = Origin { pod: &pod, sources: &Fixed, around, tokens: &tokens };
        let files = origin.files(&volume).expect("a volume of files").map_err(|error| error.to_string())?;
        let text = |file: File| (String::from_utf8_lossy(&file.data).into_owned(), file.mode);
        Ok(files.into_iter().map(|(path, file)| (path, text(file))).collect())
    }

    fn want(files: &[(&str, &str, u32)]) -> Result<BTreeMap<String, (String, u32)>, String> {
        Ok(files.iter().map(|(path, data, mode)| ((*path).to_owned(), ((*data).to_owned(), *mode))).collect())
    }

    #[test]
    fn volumes_show_what_their_sources_hold() {
        let table = [
            (
                json!({"name": "v", "configMap": {"name": "cm"}}),
                json!({}),
                want(&[("a", "1", 0o644), ("b", "\u{2}", 0o644)]),
            ),
            (
                json!({"name": "v", "configMap": {"name": "cm", "defaultMode": 256, "items": [{"key": "a", "path": "x/y"}]}}),
                json!({}),
                want(&[("x/y", "1", 0o400)]),
            ),
            (
                json!({"name": "v", "configMap": {"name": "cm", "items": [{"key": "z", "path": "z"}]}}),
                json!({}),
                Err("configmap references non-existent config key: z".to_owned()),
            ),
            (
                json!({"name": "v", "configMap": {"name": "no"}}),
                json!({}),
                Err("configmap \"no\" not found".to_owned()),
            ),
            (json!({"name": "v", "secret": {"secretName": "no", "optional": true}}), json!({}), want(&[])),
            (json!({"name": "v", "secret": {"secretName": "s"}}), json!({"fsGroup": 7}), want(&[("k", "v", 0o644)])),
            (
                json!({"name": "v", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}),
                json!({}),
                want(&[("labels", "app=\"x\"", 0o644)]),
            ),
            (
                json!({"name": "v", "projected": {"sources": [
                    {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                    {"configMap": {"name": "cm", "items": [{"key": "a", "path": "ca.crt"}]}},
                    {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}}]}}),
                json!({"runAsUser": 1000}),
                want(&[("ca.crt", "1", 0o644), ("namespace", "ns", 0o644), ("token", "jwt", 0o600)]),
            ),
        ];
        for (volume, security, want) in table {
            assert_eq!(files(volume.clone(), security), want, "{volume}");
        }
    }
}
