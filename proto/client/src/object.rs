//! What the client asks of the types that it carries.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::ObjectKey;

/// A Kubernetes object of a type known at compile time.
pub trait Object:
    k8s_openapi::Resource
    + k8s_openapi::Metadata<Ty = ObjectMeta>
    + Serialize
    + DeserializeOwned
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<K> Object for K where
    K: k8s_openapi::Resource
        + k8s_openapi::Metadata<Ty = ObjectMeta>
        + Serialize
        + DeserializeOwned
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// A resource: where the API serves a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    pub group: String,
    pub version: String,
    /// The plural: `pods`.
    pub resource: String,
}

impl Resource {
    pub fn new(group: &str, version: &str, resource: &str) -> Resource {
        Resource { group: group.to_owned(), version: version.to_owned(), resource: resource.to_owned() }
    }

    pub fn of<K: k8s_openapi::Resource>() -> Resource {
        Resource::new(K::GROUP, K::VERSION, K::URL_PATH_SEGMENT)
    }
}

/// What a cache can hold.
pub trait Cached: DeserializeOwned + Send + Sync + 'static {
    fn key(&self) -> ObjectKey;

    fn uid(&self) -> &str;

    fn resource_version(&self) -> &str;

    /// Drops what no cache needs, before the object is kept.
    fn slim(&mut self) {}
}

impl<K: Object> Cached for K {
    fn key(&self) -> ObjectKey {
        key_of(self.metadata())
    }

    fn uid(&self) -> &str {
        self.metadata().uid.as_deref().unwrap_or_default()
    }

    fn resource_version(&self) -> &str {
        self.metadata().resource_version.as_deref().unwrap_or_default()
    }

    fn slim(&mut self) {
        self.metadata_mut().managed_fields = None;
    }
}

/// The key of the object that this is the metadata of.
pub fn key_of(metadata: &ObjectMeta) -> ObjectKey {
    ObjectKey::new(metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default())
}

/// Any object, of which only the metadata is kept: for those who act on all kinds alike.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PartialObject {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub metadata: ObjectMeta,
}

/// A reference to an object, as events carry it.
pub fn reference<K: Object>(object: &K) -> ObjectReference {
    let meta = object.metadata();
    ObjectReference {
        api_version: Some(K::API_VERSION.to_owned()),
        kind: Some(K::KIND.to_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}
