//! The store as etcd's documents have it, at one revision.

use std::collections::BTreeMap;

use crate::history::{Change, Event, Guard, Record, Revision, Span};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub revision: Revision,
    pub records: BTreeMap<String, Record>,
}

impl State {
    pub fn new(revision: Revision, records: impl IntoIterator<Item = Record>) -> Self {
        Self { revision, records: records.into_iter().map(|record| (record.key.clone(), record)).collect() }
    }

    pub fn get(&self, key: &str) -> Option<&Record> {
        self.records.get(key)
    }

    pub fn read(&self, span: &Span) -> Vec<Record> {
        match span {
            Span::One(key) => self.get(key).cloned().into_iter().collect(),
            Span::Range(start, end) => {
                self.records.range(start.clone()..end.clone()).map(|(_, record)| record.clone()).collect()
            }
        }
    }

    pub fn holds(&self, guard: &Guard) -> bool {
        self.get(&guard.key).map_or(0, |record| record.mod_revision) == guard.mod_revision()
    }

    /// What these changes would do as one revision: nothing for deletes of what is not there.
    pub fn effect(&self, changes: &[Change], revision: Revision) -> Vec<Event> {
        let effect = |change: &Change| {
            let before = self.get(change.key());
            let put = match change {
                Change::Delete { .. } => {
                    before?;
                    None
                }
                Change::Put { key, value } => Some(Record {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: before.map_or(revision, |before| before.create_revision),
                    mod_revision: revision,
                    version: before.map_or(1, |before| before.version + 1),
                }),
            };
            Some(Event { key: change.key().to_owned(), revision, put })
        };
        changes.iter().filter_map(effect).collect()
    }

    pub fn apply(&mut self, revision: Revision, events: &[Event]) {
        self.revision = revision;
        for event in events {
            match &event.put {
                Some(record) => self.records.insert(event.key.clone(), record.clone()),
                None => self.records.remove(&event.key),
            };
        }
    }
}
