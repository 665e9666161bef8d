//! ServiceAccount: every pod runs as an account of its namespace, finds that account's token where client libraries
//! look for it, and may pull with the account's secrets.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keelson_objects::{names, status::StatusError};
use serde_json::{Value, json};

use super::{forbidden, is_pod};
use crate::cache::Entry;
use crate::kinds::fields::{Fields, FieldsMut};
use crate::kinds::pod::annotations::MIRROR;
use crate::pipeline::{Attributes, Operation, Plugin};
use crate::registry::Kind;

const DEFAULT: &str = "default";
const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// An hour and some seconds, by which legacy clients' reload is told apart in upstream's metrics.
const TOKEN_SECONDS: i64 = 3607;
/// A namespace's own account is made by a controller moments after the namespace.
const DEFAULT_ATTEMPTS: u32 = 10;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

pub struct ServiceAccount;

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        is_pod(kind) && operation == Operation::Create && subresource.is_empty()
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), StatusError> {
        if is_mirror(attributes.object) {
            return check_mirror(attributes);
        }
        let mut name = attributes.object.sub("spec").text("serviceAccountName").to_owned();
        if name.is_empty() {
            name = DEFAULT.to_owned();
            let spec = attributes.object.object("spec");
            spec.put("serviceAccountName", DEFAULT);
            spec.put("serviceAccount", DEFAULT);
        }
        let account = match find(attributes, &name).await? {
            Some(account) => account.value()?,
            None => {
                let why = format!(
                    "error looking up service account {}/{name}: serviceaccount \"{name}\" not found",
                    attributes.namespace
                );
                return Err(forbidden(attributes, why));
            }
        };
        let spec = attributes.object.object("spec");
        if wants_token(spec, &account) {
            mount_token(spec);
        }
        if spec.items("imagePullSecrets").is_empty() && !account.items("imagePullSecrets").is_empty() {
            spec.put("imagePullSecrets", account.sub("imagePullSecrets").clone());
        }
        Ok(())
    }
}

fn is_mirror(pod: &Value) -> bool {
    pod.sub("metadata").sub("annotations").present(MIRROR)
}

/// What a node reports of its static pods names nothing that only the API server could vouch for.
fn check_mirror(attributes: &Attributes<'_>) -> Result<(), StatusError> {
    let spec = attributes.object.sub("spec");
    if !spec.text("serviceAccountName").is_empty() {
        return Err(forbidden(attributes, "a mirror pod may not reference service accounts"));
    }
    let has_token = |volume: &Value| {
        volume.sub("projected").items("sources").iter().any(|source| source.present("serviceAccountToken"))
    };
    if spec.items("volumes").iter().any(has_token) {
        return Err(forbidden(attributes, "a mirror pod may not use ServiceAccountToken volume projections"));
    }
    Ok(())
}

async fn find(attributes: &Attributes<'_>, name: &str) -> Result<Option<Arc<Entry>>, StatusError> {
    if let Some(entry) = attributes.cluster.cached("", "serviceaccounts", attributes.namespace, name) {
        return Ok(Some(entry));
    }
    let attempts = if name == DEFAULT { DEFAULT_ATTEMPTS } else { 1 };
    for attempt in 0..attempts {
        if attempt > 0 {
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
        let found = attributes.cluster.current("", "serviceaccounts", attributes.namespace, name).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The pod's word goes before the account's.
fn wants_token(spec: &Value, account: &Value) -> bool {
    let of_pod = spec.flag("automountServiceAccountToken");
    of_pod.or(account.flag("automountServiceAccountToken")).unwrap_or(true)
}

fn mount_token(spec: &mut Value) {
    let known =
        spec.items("volumes").iter().map(|volume| volume.text("name")).find(|name| name.starts_with(VOLUME_PREFIX));
    let (volume, is_new) = match known {
        Some(name) => (name.to_owned(), false),
        None => (format!("{VOLUME_PREFIX}{}", names::random_suffix(5)), true),
    };
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        for container in spec.items_mut(list) {
            if container.items("volumeMounts").iter().any(|mount| mount.text("mountPath") == MOUNT_PATH) {
                continue;
            }
            let mut mounts = container.items("volumeMounts").to_vec();
            mounts.push(json!({ "name": volume, "readOnly": true, "mountPath": MOUNT_PATH }));
            container.put("volumeMounts", mounts);
            mounted = true;
        }
    }
    if mounted && is_new {
        let mut volumes = spec.items("volumes").to_vec();
        volumes.push(token_volume(&volume));
        spec.put("volumes", volumes);
    }
}

/// The token, the cluster's CA and the namespace, as client libraries expect them in one folder.
fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "sources": [
                { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
                { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
                { "downwardAPI": { "items": [
                    { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } },
                ] } },
            ],
            "defaultMode": 0o644,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_container_gets_the_token_once() {
        let mut spec = json!({
            "containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "own", "mountPath": MOUNT_PATH}]}],
            "initContainers": [{"name": "i"}],
        });
        mount_token(&mut spec);
        let volume = spec.items("volumes")[0].text("name").to_owned();
        assert!(volume.starts_with(VOLUME_PREFIX) && volume.len() == VOLUME_PREFIX.len() + 5);
        assert_eq!(spec.items("containers")[0].items("volumeMounts")[0].text("name"), volume);
        assert_eq!(spec.items("containers")[1].items("volumeMounts").len(), 1);
        assert_eq!(spec.items("initContainers")[0].items("volumeMounts")[0].flag("readOnly"), Some(true));
        let once = spec.clone();
        mount_token(&mut spec);
        assert_eq!(spec, once);
    }

    #[test]
    fn the_pod_decides_before_the_account() {
        let no = json!({"automountServiceAccountToken": false});
        let yes = json!({"automountServiceAccountToken": true});
        assert!(wants_token(&json!({}), &json!({})));
        assert!(!wants_token(&json!({}), &no));
        assert!(wants_token(&yes, &no));
        assert!(!wants_token(&no, &yes));
    }
}
