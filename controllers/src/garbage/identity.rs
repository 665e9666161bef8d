//! What the collector knows of an object: where it is served, who it is, and the part of its metadata that matters.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::dynamic::ResourceType;

/// Owners with this finalizer leave only after their dependents are gone.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Owners with this finalizer leave only after their dependents have been let go.
pub const ORPHAN: &str = "orphan";

/// One object as last observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    pub kind: Arc<ResourceType>,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub resource_version: String,
    pub owners: Vec<OwnerReference>,
    pub finalizers: Vec<String>,
    /// It has a deletion timestamp.
    pub leaving: bool,
}

impl Observed {
    pub fn new(kind: Arc<ResourceType>, metadata: ObjectMeta) -> Self {
        Self {
            kind,
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            resource_version: metadata.resource_version.unwrap_or_default(),
            owners: metadata.owner_references.unwrap_or_default(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            leaving: metadata.deletion_timestamp.is_some(),
        }
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
