//! One kind in the cache: its present snapshot, its recent events, and snapshots kept for `continue` tokens.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch as channel;

use super::{Entry, Event, Snapshot, decode::decode, head::Heads};
use crate::registry::Kind;

/// Events that a ring holds.
const RING_EVENTS: usize = 16 * 1024;
/// Bytes that a ring may keep alive beyond what the snapshot holds.
const RING_BYTES: usize = 16 << 20;
/// Snapshots that are kept for paging, and for how long (etcd's compaction keeps five minutes upstream).
const KEPT_SNAPSHOTS: usize = 16;
const KEPT_TIME: Duration = Duration::from_secs(300);

pub(super) struct KindCache {
    pub kind: Arc<Kind>,
    current: ArcSwap<Snapshot>,
    ring: RwLock<Ring>,
    heads: Heads,
    kept: Mutex<VecDeque<Kept>>,
}

struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The sequence number of the first event.
    base: u64,
    /// Every change after this revision is in the ring.
    floor: i64,
    bytes: usize,
}

struct Kept {
    snapshot: Arc<Snapshot>,
    /// The revision that the list was answered with.
    revision: i64,
    since: Instant,
}

/// The cursor points to what is no longer in the ring.
#[derive(Debug, PartialEq)]
pub(super) struct TooOld {
    pub floor: i64,
}

impl KindCache {
    pub fn new(kind: Arc<Kind>) -> KindCache {
        let ring = Ring { events: VecDeque::new(), base: 0, floor: 0, bytes: 0 };
        KindCache {
            kind,
            current: ArcSwap::default(),
            ring: RwLock::new(ring),
            heads: Heads::default(),
            kept: Mutex::default(),
        }
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A stored object of the kind; `key` is the key below its prefix. One that cannot be read is left out, and told of.
    pub fn entry(&self, key: &str, stored: &[u8], revision: i64) -> Option<Entry> {
        let prefix = &self.kind.storage_prefix;
        decode(&self.kind, key, stored, revision)
            .inspect_err(|error| tracing::error!(key, %prefix, %error, "a stored object is left out"))
            .ok()
    }

    /// Makes changes that follow the present ones visible, by who holds [`Cache::is_filled`](super::Cache), and tells all
    /// of it who watch.
    pub fn publish(&self, snapshot: Snapshot, events: Vec<Event>) {
        let head = self.show(snapshot, events);
        self.heads.publish(head);
    }

    /// The same, but tells those who watch by the REST door, and the others afterwards.
    pub fn publish_to_workers(&self, snapshot: Snapshot, events: Vec<Event>) {
        let head = self.show(snapshot, events);
        self.heads.publish_to_workers(head);
    }

    /// Tells whoever has not been told yet.
    pub fn settle(&self) {
        self.heads.settle();
    }

    /// Returns the ring's new head.
    fn show(&self, snapshot: Snapshot, events: Vec<Event>) -> u64 {
        // The snapshot first: whoever sees an event finds a snapshot that holds it.
        self.current.store(Arc::new(snapshot));
        let mut ring = self.ring.write();
        for event in events {
            ring.bytes += event.cost();
            ring.events.push_back(Arc::new(event));
        }
        while ring.events.len() > RING_EVENTS || (ring.bytes > RING_BYTES && ring.events.len() > 1) {
            let Some(oldest) = ring.events.pop_front() else { break };
            ring.bytes -= oldest.cost();
            ring.base += 1;
            ring.floor = oldest.revision;
        }
        ring.base + ring.events.len() as u64
    }

    /// The feed only: begins anew from a full list. Watchers that stand before it get [`TooOld`].
    pub fn reset(&self, snapshot: Snapshot, floor: i64) {
        self.current.store(Arc::new(snapshot));
        let head = {
            let mut ring = self.ring.write();
            // One number beyond all cursors, so that a watcher at the old head notices the gap.
            ring.base += ring.events.len() as u64 + 1;
            ring.events.clear();
            ring.bytes = 0;
            ring.floor = floor;
            ring.base
        };
        self.kept.lock().clear();
        self.heads.publish(head);
    }

    /// Changes whenever there are events that the ring did not have at the time of the call.
    pub fn subscribe(&self) -> channel::Receiver<u64> {
        self.heads.subscribe()
    }

    /// The cursor from which all changes after `revision` follow.
    pub fn cursor_after(&self, revision: i64) -> Result<u64, TooOld> {
        let ring = self.ring.read();
        if revision < ring.floor {
            return Err(TooOld { floor: ring.floor });
        }
        let passed = ring.events.partition_point(|event| event.revision <= revision);
        Ok(ring.base + passed as u64)
    }

    /// Up to `limit` events from the cursor on.
    pub fn read(&self, cursor: u64, limit: usize, events: &mut Vec<Arc<Event>>) -> Result<(), TooOld> {
        let ring = self.ring.read();
        let Some(skip) = cursor.checked_sub(ring.base) else { return Err(TooOld { floor: ring.floor }) };
        events.extend(ring.events.iter().skip(skip as usize).take(limit).cloned());
        Ok(())
    }

    /// Keeps a snapshot for the pages that follow.
    pub fn keep(&self, snapshot: &Arc<Snapshot>, revision: i64) {
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.since.elapsed() < KEPT_TIME);
        if kept.iter().any(|kept| kept.revision == revision) {
            return;
        }
        if kept.len() == KEPT_SNAPSHOTS {
            kept.pop_front();
        }
        kept.push_back(Kept { snapshot: snapshot.clone(), revision, since: Instant::now() });
    }

    pub fn kept(&self, revision: i64) -> Option<Arc<Snapshot>> {
        let kept = self.kept.lock();
        kept.iter().find(|kept| kept.revision == revision).map(|kept| kept.snapshot.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::decode::decode;

    fn event(kind: &Kind, revision: i64) -> Event {
        let entry = decode(kind, &format!("ns/{revision}"), br#"{"metadata":{}}"#, revision).unwrap();
        Event::new(revision, Some(Arc::new(entry)), None)
    }

    #[test]
    fn a_cursor_meets_every_event_once_or_is_told_that_it_cannot() {
        let kind = Arc::new(Kind::new("", "v1", "ConfigMap", "configmaps"));
        let cache = KindCache::new(kind.clone());
        cache.reset(Snapshot::default(), 10);
        assert_eq!(cache.cursor_after(9), Err(TooOld { floor: 10 }));
        let start = cache.cursor_after(10).unwrap();
        cache.publish(Snapshot::default(), (11..=20).map(|revision| event(&kind, revision)).collect());
        let mut events = Vec::new();
        cache.read(start, 4, &mut events).unwrap();
        assert_eq!(events.iter().map(|event| event.revision).collect::<Vec<_>>(), [11, 12, 13, 14]);
        assert_eq!(cache.cursor_after(14).unwrap(), start + 4);

        let many = 21..21 + RING_EVENTS as i64;
        cache.publish(Snapshot::default(), many.map(|revision| event(&kind, revision)).collect());
        assert_eq!(cache.read(start, 1, &mut events), Err(TooOld { floor: 20 }));
        cache.read(cache.cursor_after(20).unwrap(), 1, &mut events).unwrap();
        assert_eq!(events.last().unwrap().revision, 21);
        let head = cache.cursor_after(20 + RING_EVENTS as i64).unwrap();
        cache.reset(Snapshot::default(), 99_999);
        assert_eq!(cache.read(head, 1, &mut events), Err(TooOld { floor: 99_999 }));
    }
}
