//! The store transaction of a write, and the newest state of what is to be written.

use std::sync::Arc;

use bytes::Bytes;
use keelson_objects::{meta, status::StatusError};
use serde_json::Value;

use super::{Pipeline, Request};
use crate::{
    cache::{self, Entry},
    registry::Kind,
    storage::{Companion, Outcome, Stored, Write},
};

/// How often the Lease of a guard may turn out to be renewed meanwhile.
const GUARD_ATTEMPTS: usize = 5;

/// An object as it was read, for a write that depends on it.
pub(super) struct Current {
    /// With its resourceVersion.
    pub value: Value,
    pub revision: i64,
    pub json: Bytes,
    /// Read from the store just now; the cache's may be some milliseconds old.
    pub exact: bool,
}

/// What became of a write.
pub(super) enum Written {
    /// The stored object with its resourceVersion (of a delete: nothing).
    Done { json: Bytes },
    /// Somebody else was faster; this is what is there now.
    Changed(Option<Current>),
    /// A key of a companion was not as expected.
    Companion,
}

impl Pipeline {
    /// The object to base a write on: the cached one, or the store's when the cache has none.
    pub(super) async fn current(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Current>, StatusError> {
        match self.cache.get(kind, namespace, name) {
            Some(entry) => Ok(Some(Current::cached(&entry)?)),
            None => self.exact(kind, namespace, name).await,
        }
    }

    /// The object as the store has it now.
    pub(super) async fn exact(
        &self,
        kind: &Arc<Kind>,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Current>, StatusError> {
        let (stored, _) = self.store.get(&kind.storage_key(namespace, name)).await?;
        stored.map(|stored| Current::stored(kind, namespace, name, stored)).transpose()
    }

    /// Writes `value` (None deletes) if the object is still at `expected`.
    pub(super) async fn commit(
        &self,
        request: &Request,
        kind: &Arc<Kind>,
        (namespace, name): (&str, &str),
        expected: i64,
        value: Option<&Value>,
        companions: Vec<Companion>,
    ) -> Result<Written, StatusError> {
        let encoded = value.map(encode);
        let guard = self.guard_condition(request.guard.as_ref(), false).await?;
        let key = kind.storage_key(namespace, name);
        let lease = match kind.time_to_live {
            Some(time) if value.is_some() => self.store.lease(time).await?,
            _ => 0,
        };
        let mut write = Write { key, expected, value: encoded, guard, companions, lease };
        let own_write = self.cache.own_write();
        for _ in 0..GUARD_ATTEMPTS {
            match self.transact(request, &write).await? {
                Outcome::Committed { revision, is_certain } => {
                    if is_certain && write.companions.is_empty() {
                        own_write.committed(kind, namespace, name, write.value.as_ref(), revision);
                    }
                    let json = match &write.value {
                        Some(stored) => cache::with_version(stored, revision)
                            .ok_or_else(|| StatusError::internal("a written object has no metadata"))?,
                        None => Bytes::new(),
                    };
                    return Ok(Written::Done { json });
                }
                Outcome::Refused { current, guard_failed, companion_failed } => {
                    let present = current.as_ref().map_or(0, |stored| stored.revision);
                    if present != expected {
                        let current =
                            current.map(|stored| Current::stored(kind, namespace, name, stored)).transpose()?;
                        return Ok(Written::Changed(current));
                    }
                    if guard_failed {
                        write.guard = self.guard_condition(request.guard.as_ref(), true).await?;
                    } else if companion_failed {
                        return Ok(Written::Companion);
                    }
                    // Nothing differs any more: what stood in the way is gone again, so try again.
                }
            }
        }
        Err(StatusError::server_timeout(&kind.as_group_resource(), request.verb.name(), 1))
    }

    async fn transact(&self, request: &Request, write: &Write) -> Result<Outcome, StatusError> {
        if !request.kind.traced {
            return Ok(self.store.commit(write).await?);
        }
        let span =
            tracing::info_span!(target: keelson_process::telemetry::TRACE, "store transaction", key = %write.key);
        Ok(tracing::Instrument::instrument(self.store.commit(write), span).await?)
    }
}

/// The object as it is stored: JSON without resourceVersion.
pub(super) fn encode(object: &Value) -> Bytes {
    let versioned = object["metadata"].get("resourceVersion").is_some();
    let bytes = if versioned {
        let mut object = object.clone();
        meta::set_resource_version(&mut object, "");
        serde_json::to_vec(&object)
    } else {
        serde_json::to_vec(object)
    };
    bytes.expect("a JSON value always serializes").into()
}

impl Current {
    fn cached(entry: &Entry) -> Result<Current, StatusError> {
        Ok(Current { value: entry.value()?, revision: entry.revision(), json: entry.json().clone(), exact: false })
    }

    fn stored(kind: &Kind, namespace: &str, name: &str, stored: Stored) -> Result<Current, StatusError> {
        let key = kind.relative_key(namespace, name);
        let entry = cache::decode(kind, &key, &stored.value, stored.revision)
            .map_err(|error| StatusError::internal(format!("stored object {key} cannot be read: {error}")))?;
        Ok(Current { exact: true, ..Current::cached(&entry)? })
    }
}
