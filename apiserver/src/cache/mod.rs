//! The watch cache: every read and every watch is served from here.
//!
//! One watch on `/registry/` feeds all kinds, so the cache has one revision: it holds all that was committed up to it.
//! (A lone write of this process does not wait for that watch: `own_write.rs`.)
//! - A kind's objects are a persistent ordered set of shared [`Entry`]s: a reader takes a snapshot and walks it without a lock.
//! - A kind's recent events are a bounded ring. A watcher is a cursor into it and has no queue of its own; one that
//!   falls behind the ring's end is told so (410), never cut off silently.
//! - A consistent read asks the store how far it is (one question for all readers of a moment) and waits
//!   until the cache is there.
//! - Snapshots that `continue` tokens refer to are kept for a while; older ones are read from the store's history.

mod changes;
mod decode;
mod entry;
mod event;
mod feed;
mod head;
mod kind_cache;
mod listing;
mod own_write;
mod read_index;
mod selection;
mod snapshot;
mod token;
mod watch;

use std::{collections::HashMap, sync::Arc, time::Duration};

use keelson_objects::status::StatusError;
use keelson_process::health::HealthCheck;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch as channel};

pub use decode::{decode, with_version};
pub use entry::Entry;
pub use event::{Change, Event, frame};
pub use listing::Listing;
pub use selection::Selection;
pub use snapshot::Snapshot;
pub use watch::{WatchItem, WatchStream};

use crate::{
    metrics::Metrics,
    registry::{Kind, Registry},
    storage::Store,
};
use kind_cache::KindCache;
use own_write::OwnWrites;
use read_index::ReadIndex;

/// Watches that are open at once.
const WATCHES: usize = 50_000;
/// Upstream's patience for a resourceVersion that the cache has not reached.
const FUTURE_PATIENCE: Duration = Duration::from_secs(3);

pub struct Cache {
    /// One a storage prefix.
    kinds: Vec<Arc<KindCache>>,
    /// From a kind's index to its cache: versions of one resource share it.
    of_kind: Vec<usize>,
    by_prefix: HashMap<String, usize>,
    revision: channel::Sender<i64>,
    /// Whether the cache holds all up to its revision and later changes may follow: not while it is filled. Held while some do.
    is_filled: Mutex<bool>,
    own_writes: OwnWrites,
    read_index: ReadIndex,
    /// Places for watches.
    watches: Arc<Semaphore>,
    metrics: Metrics,
}

impl Cache {
    /// An empty cache over the kinds, and its feed, which runs until the process ends. `ready` is called when the first
    /// fill is complete, `failed` if the feed ends; `store_check` says whether the store is heard.
    pub fn start(
        registry: &Registry,
        store: &Store,
        metrics: Metrics,
        store_check: HealthCheck,
        ready: impl FnOnce() + Send + 'static,
        failed: impl FnOnce(String) + Send + 'static,
    ) -> Arc<Cache> {
        let cache = Cache::new(registry, store, metrics);
        let feed = tokio::spawn(feed::run(cache.clone(), store.clone(), store_check, ready));
        tokio::spawn(async move {
            if let Err(error) = feed.await {
                failed(format!("the watch cache failed: {error}"));
            }
        });
        cache
    }

    fn new(registry: &Registry, store: &Store, metrics: Metrics) -> Arc<Cache> {
        let mut kinds: Vec<Arc<KindCache>> = Vec::new();
        let mut of_kind = Vec::new();
        let mut by_prefix = HashMap::new();
        for kind in registry.kinds() {
            let index = *by_prefix.entry(kind.storage_prefix.to_string()).or_insert_with(|| {
                kinds.push(Arc::new(KindCache::new(kind.clone())));
                kinds.len() - 1
            });
            of_kind.push(index);
        }
        let (revision, _) = channel::channel(0);
        let read_index = ReadIndex::start(store.clone(), revision.subscribe());
        let watches = Arc::new(Semaphore::new(WATCHES));
        Arc::new(Cache {
            kinds,
            of_kind,
            by_prefix,
            revision,
            is_filled: Mutex::default(),
            own_writes: OwnWrites::default(),
            read_index,
            watches,
            metrics,
        })
    }

    fn of(&self, kind: &Kind) -> &Arc<KindCache> {
        &self.kinds[self.of_kind[kind.index]]
    }

    /// The cache holds all that was committed up to here.
    pub fn revision(&self) -> i64 {
        *self.revision.borrow()
    }

    pub fn get(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Entry>> {
        self.of(kind).current().get(&kind.relative_key(namespace, name))
    }

    pub fn snapshot(&self, kind: &Kind) -> Arc<Snapshot> {
        self.of(kind).current()
    }

    fn advance(&self, revision: i64) {
        self.metrics.cache_revision.set(revision);
        self.revision.send_replace(revision);
    }

    /// Waits until the cache holds all that was committed before the call.
    pub async fn caught_up(&self, _store: &Store) -> Result<(), StatusError> {
        Ok(self.read_index.confirmed().await?)
    }

    /// Waits until the cache has reached `revision`, as long as upstream does.
    pub async fn reached(&self, revision: i64) -> Result<(), StatusError> {
        let mut present = self.revision.subscribe();
        let wait = tokio::time::timeout(FUTURE_PATIENCE, present.wait_for(|present| *present >= revision));
        match wait.await {
            Ok(_) => Ok(()),
            Err(_) => {
                let asked = u64::try_from(revision).unwrap_or_default();
                let present = u64::try_from(self.revision()).unwrap_or_default();
                Err(StatusError::too_large_resource_version(asked, present, 1))
            }
        }
    }
}
