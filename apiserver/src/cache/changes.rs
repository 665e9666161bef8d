//! Committed changes that become visible together.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Cache, Event, Snapshot, entry::Slot, kind_cache::KindCache};

/// Changes of one revision or of several that follow each other, in their order. Whoever makes them visible holds
/// [`Cache::is_filled`] all the while.
pub(super) struct Changes<'c> {
    cache: &'c Cache,
    of_kinds: HashMap<usize, (Snapshot, Vec<Event>)>,
}

impl<'c> Changes<'c> {
    pub fn new(cache: &'c Cache) -> Self {
        Changes { cache, of_kinds: HashMap::new() }
    }

    /// `index` is the place of the kind's cache, `key` the key below its prefix, `stored` the store's value; None: deleted.
    pub fn add(&mut self, index: usize, key: &str, stored: Option<&[u8]>, revision: i64) {
        let kind = &self.cache.kinds[index];
        let present = || (Snapshot::clone(&kind.current()), Vec::new());
        let (snapshot, events) = self.of_kinds.entry(index).or_insert_with(present);
        snapshot.revision = revision;
        let entry = stored.and_then(|stored| kind.entry(key, stored, revision)).map(Arc::new);
        let previous = match &entry {
            Some(entry) => snapshot.slots.insert(Slot(entry.clone())),
            None => snapshot.slots.remove(key),
        };
        let previous = previous.map(|slot| slot.0);
        if entry.is_some() || previous.is_some() {
            events.push(Event::new(revision, entry, previous));
        }
    }

    /// Snapshots and events of every kind, then the revision up to which the cache is complete with them.
    pub fn publish(self, reached: i64) {
        self.publish_by(reached, KindCache::publish);
    }

    /// The same, but those who watch by the REST door hear of it before all others.
    pub fn publish_to_workers(self, reached: i64) {
        self.publish_by(reached, KindCache::publish_to_workers);
    }

    fn publish_by(self, reached: i64, publish: impl Fn(&KindCache, Snapshot, Vec<Event>)) {
        for (index, (snapshot, events)) in self.of_kinds {
            publish(&self.cache.kinds[index], snapshot, events);
        }
        self.cache.advance(reached);
    }
}
