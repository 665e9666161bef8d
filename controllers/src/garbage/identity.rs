//! What the collector knows of an object: where it is served, who it is, and the part of its metadata that matters.
//!
//! There is one record for each object of the cluster, so a record is small, and one copy of it serves both the cache of
//! the kind and the graph. An event is read into it directly: what else the object says is passed over.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use keelson_client::{Cached, ObjectKey};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::dynamic::ResourceType;

/// Owners with this finalizer leave only after their dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Owners with this finalizer leave only after their dependents have been let go.
pub const ORPHAN: &str = "orphan";

/// An object's metadata as far as it matters here.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(from = "WireObject")]
pub struct Record {
    key: ObjectKey,
    pub uid: Arc<str>,
    pub resource_version: Box<str>,
    pub owners: Box<[OwnerReference]>,
    pub finalizers: Box<[String]>,
    /// It has a deletion timestamp.
    pub leaving: bool,
}

#[derive(Deserialize)]
struct WireObject {
    metadata: WireMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMetadata {
    #[serde(default)]
    namespace: Option<Arc<str>>,
    name: Arc<str>,
    #[serde(default)]
    uid: Option<Arc<str>>,
    #[serde(default)]
    resource_version: Option<Box<str>>,
    #[serde(default)]
    owner_references: Option<Vec<OwnerReference>>,
    #[serde(default)]
    finalizers: Option<Vec<String>>,
    #[serde(default)]
    deletion_timestamp: Option<IgnoredAny>,
}

impl From<WireObject> for Record {
    fn from(WireObject { metadata }: WireObject) -> Self {
        Self {
            key: ObjectKey { namespace: metadata.namespace.unwrap_or_default(), name: metadata.name },
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            owners: metadata.owner_references.unwrap_or_default().into(),
            finalizers: metadata.finalizers.unwrap_or_default().into(),
            leaving: metadata.deletion_timestamp.is_some(),
        }
    }
}

impl From<ObjectMeta> for Record {
    fn from(metadata: ObjectMeta) -> Self {
        let shared = |text: Option<String>| text.unwrap_or_default().into();
        Self {
            key: ObjectKey { namespace: shared(metadata.namespace), name: shared(metadata.name) },
            uid: shared(metadata.uid),
            resource_version: metadata.resource_version.unwrap_or_default().into(),
            owners: metadata.owner_references.unwrap_or_default().into(),
            finalizers: metadata.finalizers.unwrap_or_default().into(),
            leaving: metadata.deletion_timestamp.is_some(),
        }
    }
}

impl Cached for Record {
    fn key(&self) -> ObjectKey {
        self.key.clone()
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }
}

impl Record {
    pub fn namespace(&self) -> &str {
        &self.key.namespace
    }

    pub fn name(&self) -> &str {
        &self.key.name
    }

    fn has_finalizer(&self, name: &str) -> bool {
        self.finalizers.iter().any(|finalizer| finalizer == name)
    }

    pub fn orphans_dependents(&self) -> bool {
        self.has_finalizer(ORPHAN)
    }

    pub fn deletes_dependents(&self) -> bool {
        self.has_finalizer(FOREGROUND)
    }

    /// It waits for its dependents to be deleted.
    pub fn awaits_deletion_of_dependents(&self) -> bool {
        self.leaving && self.deletes_dependents()
    }

    /// It waits for its dependents to be let go.
    pub fn awaits_release_of_dependents(&self) -> bool {
        self.leaving && self.orphans_dependents()
    }

    pub fn reference_to(&self, owner: &str) -> Option<&OwnerReference> {
        self.owners.iter().find(|reference| reference.uid == owner)
    }
}

/// One object as last observed. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    pub kind: Arc<ResourceType>,
    pub record: Arc<Record>,
}

impl std::ops::Deref for Observed {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_read_as_the_metadata_would_be() {
        let full = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}, "metadata": {
            "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": {"app": "x"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Thing", "name": "o", "uid": "ou"}],
            "finalizers": [FOREGROUND], "deletionTimestamp": "2026-01-01T00:00:00Z",
        }});
        let bare = json!({"metadata": {"name": "node", "ownerReferences": null}});
        for object in [full, bare] {
            let metadata: ObjectMeta = serde_json::from_value(object["metadata"].clone()).expect("metadata");
            let record: Record = serde_json::from_value(object).expect("a record");
            assert_eq!(record, Record::from(metadata));
        }
    }
}
