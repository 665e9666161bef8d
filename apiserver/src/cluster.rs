//! What strategies, admission plugins and subresource handlers may ask of the server.
//!
//! A cheap clone. Reads come from the watch cache; `current` and `modify` are exact.

use std::sync::Arc;

use bytes::Bytes;
use keelson_objects::status::StatusError;
use serde_json::Value;

use crate::{
    authentication::Issuer,
    cache::{Cache, Entry, Snapshot},
    pipeline::{Answer, Chain, Pipeline, Request},
    registry::{Kind, Registry},
    settings::Settings,
    storage::Store,
};

#[derive(Clone)]
pub struct Cluster(pub(crate) Arc<Pipeline>);

impl Cluster {
    pub fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn admission(&self) -> &Chain {
        &self.0.admission
    }

    /// Signs service-account tokens; None without a signing key.
    pub fn issuer(&self) -> Option<&Issuer> {
        self.0.issuer.as_ref()
    }

    /// The cached object, which may be some milliseconds old. Never blocks.
    pub fn cached(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        let kind = self.registry().find_resource(group, resource)?;
        self.cache().get(kind, namespace, name)
    }

    /// A snapshot of all cached objects of a kind: `snapshot.in_namespace(ns)` or `snapshot.iter()` yield `&Arc<Entry>`.
    pub fn snapshot(&self, group: &str, resource: &str) -> Option<Arc<Snapshot>> {
        let kind = self.registry().find_resource(group, resource)?;
        Some(self.cache().snapshot(kind))
    }

    /// The object as of now (a read-index round trip first). `Ok(None)`: it does not exist.
    pub async fn current(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Entry>>, StatusError> {
        let Some(kind) = self.registry().find_resource(group, resource).cloned() else { return Ok(None) };
        self.cache().caught_up(self.store()).await?;
        Ok(self.cache().get(&kind, namespace, name))
    }

    /// Waits until the cache holds all that was committed before this call.
    pub async fn caught_up(&self) -> Result<(), StatusError> {
        self.cache().caught_up(self.store()).await
    }

    /// An optimistic update of one object: `change` sees the newest object (with its resourceVersion) and changes it, or
    /// refuses. It is called again when another write came between. Generic metadata is kept as it is; no admission and
    /// no validation runs. Answers the stored object with its resourceVersion.
    pub async fn modify(
        &self,
        request: &Request,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
        change: impl FnMut(&mut Value) -> Result<(), StatusError> + Send,
    ) -> Result<Bytes, StatusError> {
        self.0.modify(request, kind, namespace, name, change).await
    }

    /// A further request through the whole pipeline after authentication (an eviction's delete, for example).
    pub async fn call(&self, request: Request) -> Result<Answer, StatusError> {
        self.0.handle(request).await
    }
}
