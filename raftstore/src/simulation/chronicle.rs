//! The store's history, taken from whichever member showed a revision first: what watches and lists are judged by.
//!
//! The members' states are compared with each other elsewhere, so one member's word is enough.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelson_wire::mvccpb::event::EventType;
use keelson_wire::mvccpb::{Event, KeyValue};
use prost::Message as _;

use crate::mvcc::{Compaction, Key, KeyRange, State, state_records};

/// The revision of a store in which nothing was changed yet.
const FIRST: i64 = 1;

pub struct Chronicle {
    /// All up to this revision is here.
    pub revision: i64,
    /// The highest revision that anybody has compacted.
    pub compacted: i64,
    /// A part was compacted before it was seen: from here on nothing is known.
    pub is_torn: bool,
    /// By revision, each with the key's value before.
    changes: BTreeMap<i64, Vec<Event>>,
    /// Of each key, oldest first. Version 0 is a delete.
    records: BTreeMap<Bytes, Vec<KeyValue>>,
}

impl Default for Chronicle {
    fn default() -> Self {
        Self { revision: FIRST, compacted: 0, is_torn: false, changes: BTreeMap::new(), records: BTreeMap::new() }
    }
}

fn is_alive(kv: &KeyValue) -> bool {
    kv.version > 0
}

impl Chronicle {
    /// Takes in what a member has applied that nobody had before it.
    pub fn look(&mut self, state: &State) -> Result<(), String> {
        self.compacted = self.compacted.max(state.compacted);
        if state.revision <= self.revision {
            return Ok(());
        }
        let removed = Compaction::pending(state).map_err(|error| error.to_string())?.done;
        self.is_torn |= removed > self.revision;
        for record in state_records(state.storage.as_ref(), self.revision + 1, state.revision) {
            let (key, value) = record.map_err(|error| error.to_string())?;
            let Some(Key::Record(revision)) = Key::decode(&key) else { continue };
            let kv = KeyValue::decode(value).map_err(|error| error.to_string())?;
            self.note(revision.main, kv);
        }
        self.revision = state.revision;
        Ok(())
    }

    fn note(&mut self, revision: i64, kv: KeyValue) {
        let records = self.records.entry(kv.key.clone()).or_default();
        let prev_kv = records.last().filter(|kv| is_alive(kv)).cloned();
        records.push(kv.clone());
        let kind = if is_alive(&kv) { EventType::Put } else { EventType::Delete };
        // A delete tells its key and its revision, and nothing else.
        let event = Event { r#type: kind as i32, kv: Some(kv), prev_kv };
        self.changes.entry(revision).or_default().push(event);
    }

    /// The events of a range from one revision to another, both with them.
    pub fn events<'a>(&'a self, range: &'a KeyRange, first: i64, last: i64) -> impl Iterator<Item = &'a Event> {
        let changes = (first <= last).then(|| self.changes.range(first..=last));
        let events = changes.into_iter().flatten().flat_map(|(_, events)| events);
        events.filter(|event| event.kv.as_ref().is_some_and(|kv| range.contains(&kv.key)))
    }

    /// What a range held at a revision.
    pub fn picture(&self, range: &KeyRange, at: i64) -> BTreeMap<Bytes, KeyValue> {
        let inside = self.records.iter().filter(|(key, _)| range.contains(key));
        let newest = inside.filter_map(|(key, records)| {
            let newest = records.iter().rev().find(|kv| kv.mod_revision <= at)?;
            is_alive(newest).then(|| (key.clone(), newest.clone()))
        });
        newest.collect()
    }
}
