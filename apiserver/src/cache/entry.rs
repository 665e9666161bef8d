//! One cached object: its bytes as clients get them, and the little that selectors ask for.

use std::borrow::Borrow;

use bytes::{BufMut, Bytes, BytesMut};
use keelson_objects::{selector::label::Labels, status::StatusError};
use serde_json::Value;

use crate::registry::Kind;

/// Immutable; shared by the cache, lists, watchers and writers.
#[derive(Debug)]
pub struct Entry {
    /// `<namespace>/<name>` or `<name>`.
    pub(super) key: Box<str>,
    pub(super) revision: i64,
    /// The object with its resourceVersion.
    pub(super) json: Bytes,
    /// Where the digits of the resourceVersion lie in `json`.
    pub(super) version_at: (u32, u32),
    pub(super) labels: Box<[(Box<str>, Box<str>)]>,
    /// Values of the kind's selectable fields, in the kind's order.
    pub(super) fields: Box<[Box<str>]>,
}

impl Entry {
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Empty for cluster-scoped objects.
    pub fn namespace(&self) -> &str {
        self.key.split_once('/').map_or("", |(namespace, _)| namespace)
    }

    pub fn name(&self) -> &str {
        self.key.split_once('/').map_or(&self.key, |(_, name)| name)
    }

    /// The resourceVersion as a number: the store revision of the last write.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The encoded object with its resourceVersion.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The value of a field that selectors of its kind may name, without a look at the object.
    pub fn field(&self, kind: &Kind, name: &str) -> Option<&str> {
        let place = kind.selectable_fields.iter().position(|field| field.name == name)?;
        self.fields.get(place).map(|value| &**value)
    }

    /// The object, parsed anew.
    pub fn value(&self) -> Result<Value, StatusError> {
        serde_json::from_slice(&self.json)
            .map_err(|error| StatusError::internal(format!("stored object {} cannot be read: {error}", self.key)))
    }

    /// The same bytes under another resourceVersion: what a DELETED event shows.
    pub(super) fn json_at(&self, revision: i64) -> Bytes {
        let (from, to) = (self.version_at.0 as usize, self.version_at.1 as usize);
        let mut json = BytesMut::with_capacity(self.json.len() + 4);
        json.put_slice(&self.json[..from]);
        json.put_slice(revision.to_string().as_bytes());
        json.put_slice(&self.json[to..]);
        json.freeze()
    }

    pub(super) fn bytes(&self) -> usize {
        self.json.len() + self.key.len() + 128
    }
}

impl Labels for Entry {
    fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(own, _)| **own == *key).map(|(_, value)| &**value)
    }
}

/// An entry in the ordered set, which is ordered by key as the store is.
#[derive(Clone)]
pub(super) struct Slot(pub std::sync::Arc<Entry>);

impl Borrow<str> for Slot {
    fn borrow(&self) -> &str {
        &self.0.key
    }
}

impl PartialEq for Slot {
    fn eq(&self, other: &Slot) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Slot {}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Slot) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    fn cmp(&self, other: &Slot) -> std::cmp::Ordering {
        self.0.key.cmp(&other.0.key)
    }
}
