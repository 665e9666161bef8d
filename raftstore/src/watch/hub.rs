//! The ring of the newest changes, and the streams that wait for some of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use super::interest::Interest;
use crate::mvcc::{Change, KeyRange};
use crate::raft::WriterPermit;

/// The ring's bounds. What has left it is read from the database.
const RING_BYTES: usize = 4 << 20;
const RING_CHANGES: usize = 16 << 10;

pub struct Hub {
    inner: Mutex<Inner>,
    next_stream: AtomicU64,
    pub streams: Gauge,
    pub watches: Gauge,
}

struct Inner {
    /// Consecutive revisions, up to `revision`.
    ring: VecDeque<(Arc<Change>, usize)>,
    bytes: usize,
    revision: i64,
    /// In an order: who is woken first is no matter of chance.
    streams: BTreeMap<u64, Arc<Bell>>,
    interest: Interest<u64>,
    /// Bells that are to be rung.
    due: Vec<Arc<Bell>>,
    /// Watches that want previous values.
    with_previous: usize,
}

/// Rings when something came that a stream has an interest in.
#[derive(Default)]
pub struct Bell {
    rung: AtomicBool,
    notify: Notify,
}

impl Bell {
    pub async fn wait(&self) {
        self.notify.notified().await;
        self.rung.store(false, Ordering::Release);
    }

    pub fn ring(&self) {
        if self.claim() {
            self.notify.notify_one();
        }
    }

    /// From now on it is to be rung; false if it was already.
    fn claim(&self) -> bool {
        !self.rung.swap(true, Ordering::AcqRel)
    }
}

/// What the hub has of a span of revisions.
pub enum Taken {
    Changes(Vec<Arc<Change>>),
    /// The first of them have left the ring, or they are visible and on their way into it: the database has them.
    NotHere,
}

impl Default for Hub {
    fn default() -> Self {
        let inner = Inner {
            ring: VecDeque::new(),
            bytes: 0,
            revision: 0,
            streams: BTreeMap::new(),
            interest: Interest::new(),
            due: Vec::new(),
            with_previous: 0,
        };
        Self {
            inner: Mutex::new(inner),
            next_stream: AtomicU64::new(1),
            streams: Gauge::default(),
            watches: Gauge::default(),
        }
    }
}

impl Hub {
    /// Takes in the changes that have become visible. Called under the writer's permit; then [`Self::ring`] is due.
    pub fn publish(&self, revision: i64, changes: Vec<Arc<Change>>) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        inner.revision = revision;
        for change in changes {
            for event in &change.events {
                let Some(kv) = &event.event.kv else { continue };
                for stream in inner.interest.of(&kv.key) {
                    if let Some(bell) = inner.streams.get(&stream).filter(|bell| bell.claim()) {
                        inner.due.push(bell.clone());
                    }
                }
            }
            let weight = weight(&change);
            inner.bytes += weight;
            inner.ring.push_back((change, weight));
        }
        while inner.bytes > RING_BYTES || inner.ring.len() > RING_CHANGES {
            match inner.ring.pop_front() {
                Some((_, weight)) => inner.bytes -= weight,
                None => break,
            }
        }
    }

    /// Wakes those whom the changes concern. Whoever made them is answered before.
    pub fn ring(&self) {
        let due = std::mem::take(&mut self.inner.lock().due);
        due.iter().for_each(|bell| bell.notify.notify_one());
    }

    /// Another state has taken the place of the old one: all streams look for themselves.
    pub fn reset(&self, revision: i64) {
        let mut inner = self.inner.lock();
        inner.ring.clear();
        inner.bytes = 0;
        inner.revision = revision;
        inner.streams.values().for_each(|bell| bell.ring());
    }

    /// The changes from revision `first` on, as many as weigh about `limit` bytes.
    pub fn take(&self, first: i64, limit: usize) -> Taken {
        let inner = self.inner.lock();
        // Whoever asks has seen a picture that reaches as far as it asks; pictures become visible before the ring grows.
        if first > inner.revision {
            return Taken::NotHere;
        }
        let oldest = inner.ring.front().map(|(change, _)| change.revision);
        let Some(skip) = oldest.and_then(|oldest| usize::try_from(first - oldest).ok()) else { return Taken::NotHere };
        let mut bytes = 0;
        let mut changes = Vec::new();
        for (change, weight) in inner.ring.iter().skip(skip) {
            if bytes >= limit {
                break;
            }
            bytes += weight;
            changes.push(change.clone());
        }
        Taken::Changes(changes)
    }

    pub fn join(&self) -> (u64, Arc<Bell>) {
        let id = self.next_stream.fetch_add(1, Ordering::Relaxed);
        let bell = Arc::new(Bell::default());
        self.inner.lock().streams.insert(id, bell.clone());
        self.streams.inc();
        (id, bell)
    }

    pub fn leave(&self, stream: u64) {
        if self.inner.lock().streams.remove(&stream).is_some() {
            self.streams.dec();
        }
    }

    /// Under the permit no change can become visible: what comes after the permit's state is heard of.
    pub fn register(&self, permit: &mut WriterPermit<'_>, stream: u64, range: &KeyRange, with_previous: bool) {
        let mut inner = self.inner.lock();
        inner.interest.add(range, stream);
        inner.with_previous += usize::from(with_previous);
        permit.set_with_previous(inner.with_previous > 0);
        self.watches.inc();
    }

    pub fn deregister(&self, permit: &mut WriterPermit<'_>, stream: u64, range: &KeyRange, with_previous: bool) {
        let mut inner = self.inner.lock();
        inner.interest.remove(range, stream);
        inner.with_previous -= usize::from(with_previous);
        permit.set_with_previous(inner.with_previous > 0);
        self.watches.dec();
    }
}

fn weight(change: &Change) -> usize {
    let kv = |kv: &Option<keelson_wire::mvccpb::KeyValue>| kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
    change.events.iter().map(|event| 256 + kv(&event.event.kv) + kv(&event.event.prev_kv)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_not_come_into_the_ring_yet_is_not_taken_for_nothing() {
        let hub = Hub::default();
        hub.reset(5);
        let change = |revision| Arc::new(Change { revision, events: Vec::new() });
        assert!(matches!(hub.take(6, 100), Taken::NotHere), "revision 6 may be visible, and is not in the ring");
        hub.publish(7, vec![change(6), change(7)]);
        assert!(matches!(hub.take(6, 100), Taken::Changes(changes) if changes.len() == 2));
        assert!(matches!(hub.take(5, 100), Taken::NotHere), "revision 5 was there before the ring");
        assert!(matches!(hub.take(8, 100), Taken::NotHere));
    }
}
