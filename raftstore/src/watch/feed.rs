//! From changes to the events of one watch: from the ring while they are there, else from the database.

use std::sync::Arc;

use keelson_wire::etcdserverpb::watch_create_request::FilterType;
use keelson_wire::mvccpb::event::EventType;
use keelson_wire::mvccpb::{Event, KeyValue};
use prost::Message as _;

use super::hub::{Hub, Taken};
use crate::disk;
use crate::failpoints::{Bug, planted};
use crate::mvcc::{Change, ChangeEvent, Key, KeyRange, State, Values as _, state_records};

/// What a watch asked for, and how far it is.
pub struct Watcher {
    pub range: KeyRange,
    pub no_put: bool,
    pub no_delete: bool,
    pub prev_kv: bool,
    pub progress_notify: bool,
    pub fragment: bool,
    /// The first revision that it has not seen.
    pub next: i64,
    /// It was sent something since the last progress notification.
    pub active: bool,
}

impl Watcher {
    pub fn set_filters(&mut self, filters: impl Iterator<Item = FilterType>) {
        for filter in filters {
            match filter {
                FilterType::Noput => self.no_put = true,
                FilterType::Nodelete => self.no_delete = true,
            }
        }
    }

    /// The events of a change that this watch wants, its previous values with them.
    pub fn events_of(&self, change: &Change, state: &State) -> disk::Result<Vec<Event>> {
        let mut events = Vec::new();
        if change.revision < self.next {
            return Ok(events);
        }
        if planted(Bug::WatchSkips) && change.revision % 97 == 0 {
            return Ok(events);
        }
        for change in &change.events {
            if self.wants(&change.event) {
                events.push(self.dressed(change, state)?);
            }
        }
        Ok(events)
    }

    fn wants(&self, event: &Event) -> bool {
        let filtered = match event.r#type() {
            EventType::Put => self.no_put,
            EventType::Delete => self.no_delete,
        };
        !filtered && event.kv.as_ref().is_some_and(|kv| self.range.contains(&kv.key))
    }

    fn dressed(&self, change: &ChangeEvent, state: &State) -> disk::Result<Event> {
        let mut event = change.event.clone();
        if !self.prev_kv {
            event.prev_kv = None;
        } else if event.prev_kv.is_none()
            && let Some(previous) = change.previous
        {
            event.prev_kv = state.value(previous)?;
        }
        Ok(event)
    }
}

/// The changes from `first` on, about `limit` bytes of them, at least one if there is any up to `last`.
pub fn changes(hub: &Hub, state: &State, first: i64, last: i64, limit: usize) -> disk::Result<Vec<Arc<Change>>> {
    if first > last {
        return Ok(Vec::new());
    }
    match hub.take(first, limit) {
        Taken::Changes(mut changes) => {
            changes.retain(|change| change.revision <= last);
            Ok(changes)
        }
        Taken::NotHere => from_disk(state, first, last, limit),
    }
}

/// Revisions of which all records are compacted away are left out.
fn from_disk(state: &State, first: i64, last: i64, limit: usize) -> disk::Result<Vec<Arc<Change>>> {
    let mut changes: Vec<Change> = Vec::new();
    let mut bytes = 0;
    for record in state_records(state.storage.as_ref(), first, last) {
        let (key, value) = record?;
        let Some(Key::Record(revision)) = Key::decode(&key) else { continue };
        let is_next = changes.last().is_none_or(|change| change.revision != revision.main);
        if is_next && bytes >= limit {
            break;
        }
        bytes += value.len();
        let kv = KeyValue::decode(value)?;
        let previous = state.keys.get(&kv.key).and_then(|indexed| indexed.before(revision));
        let kind = if kv.version == 0 { EventType::Delete } else { EventType::Put };
        let event = Event { r#type: kind as i32, kv: Some(kv), prev_kv: None };
        let event = ChangeEvent { event, previous };
        match changes.last_mut() {
            Some(change) if !is_next => change.events.push(event),
            _ => changes.push(Change { revision: revision.main, events: vec![event] }),
        }
    }
    Ok(changes.into_iter().map(Arc::new).collect())
}
