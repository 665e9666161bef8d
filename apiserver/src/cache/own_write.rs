//! A write of this process that is alone is seen as soon as the store has answered it.
//!
//! The store's watch brings it, too, but that is a message to another thread, which takes longer than all else between
//! the answer and the first watcher. Among many writes their events come together in large batches; there the feed's way
//! costs less.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::{Cache, changes::Changes};
use crate::registry::Kind;

/// How many writes of this process are under way.
#[derive(Default)]
pub(super) struct OwnWrites(AtomicUsize);

/// A write that is under way.
pub struct OwnWrite<'c>(&'c Cache);

impl Cache {
    /// Counts until it is dropped.
    pub fn own_write(&self) -> OwnWrite<'_> {
        self.own_writes.0.fetch_add(1, Ordering::Relaxed);
        OwnWrite(self)
    }
}

impl OwnWrite<'_> {
    /// The write was committed as the only change of `revision`; `stored` is what the key holds now (None: it was deleted).
    /// Does nothing unless the write is alone, and the cache holds all that was committed before it.
    pub fn committed(&self, kind: &Kind, namespace: &str, name: &str, stored: Option<&Bytes>, revision: i64) {
        let cache = self.0;
        if cache.own_writes.0.load(Ordering::Relaxed) > 1 {
            return;
        }
        // Whoever holds it may have much to do; then the feed shows this, too.
        let Some(is_filled) = cache.is_filled.try_lock() else { return };
        if !*is_filled || cache.revision() != revision - 1 {
            return;
        }
        let mut changes = Changes::new(cache);
        let key = kind.relative_key(namespace, name);
        changes.add(cache.of_kind[kind.index], &key, stored.map(|stored| &**stored), revision);
        changes.publish_to_workers(revision);
    }
}

impl Drop for OwnWrite<'_> {
    fn drop(&mut self) {
        self.0.own_writes.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use keelson_wire::etcdserverpb::WatchResponse;
    use keelson_wire::mvccpb::{Event, KeyValue, event::EventType};

    use super::*;
    use crate::cache::feed;
    use crate::metrics::Metrics;
    use crate::registry::Registry;
    use crate::storage::{Endpoints, Store, StoreTls};

    fn stored(name: &str) -> Bytes {
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}}}}"#).into()
    }

    /// What the store's watch says of writes of these objects, each of a revision of its own.
    fn told(writes: &[(&str, i64)]) -> WatchResponse {
        let event = |(name, mod_revision): &(&str, i64)| Event {
            r#type: EventType::Put.into(),
            kv: Some(KeyValue {
                key: format!("/registry/configmaps/a/{name}").into(),
                value: stored(name),
                mod_revision: *mod_revision,
                ..Default::default()
            }),
            prev_kv: None,
        };
        WatchResponse { events: writes.iter().map(event).collect(), ..Default::default() }
    }

    #[tokio::test]
    async fn a_lone_write_is_seen_at_once_and_once() {
        let kind = Kind::new("", "v1", "ConfigMap", "configmaps");
        let registry = Registry::new(vec![kind]);
        let kind = registry.kinds()[0].clone();
        let nowhere = Endpoints::new(&["http://127.0.0.1:1".to_owned()], &StoreTls::default()).unwrap();
        let cache = Cache::new(
            &registry,
            &Store::start(nowhere, |_| ()),
            Metrics::new(&keelson_process::metrics::Metrics::new("apiserver")),
        );
        let events = || {
            let mut events = Vec::new();
            let ring = cache.of(&kind);
            ring.read(ring.cursor_after(0).unwrap(), 100, &mut events).unwrap();
            events.iter().map(|event| event.revision).collect::<Vec<_>>()
        };
        let put = |name: &str, revision| {
            cache.own_write().committed(&kind, "a", name, Some(&stored(name)), revision);
        };

        put("early", 1);
        assert_eq!((cache.revision(), events()), (0, vec![]), "the cache is not filled yet");
        cache.advance(10);
        *cache.is_filled.lock() = true;
        put("first", 11);
        assert_eq!((cache.revision(), events()), (11, vec![11]));
        assert!(cache.get(&kind, "a", "first").unwrap().json().starts_with(&stored("first")[..40]));
        feed::apply(&cache, told(&[("first", 11), ("others", 12)]));
        assert_eq!((cache.revision(), events()), (12, vec![11, 12]), "the watch tells of it once more");

        put("behind-a-gap", 14);
        let beside = cache.own_write();
        put("not-alone", 13);
        drop(beside);
        assert_eq!((cache.revision(), events()), (12, vec![11, 12]));
        feed::apply(&cache, told(&[("not-alone", 13), ("behind-a-gap", 14)]));
        put("not-alone", 13);
        assert_eq!((cache.revision(), events()), (14, vec![11, 12, 13, 14]), "the watch was faster");

        cache.own_write().committed(&kind, "a", "first", None, 15);
        assert_eq!((cache.revision(), events()), (15, vec![11, 12, 13, 14, 15]));
        assert!(cache.get(&kind, "a", "first").is_none());
    }
}
