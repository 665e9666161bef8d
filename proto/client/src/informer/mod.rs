//! A cache of one resource that one watch keeps current.
//!
//! The present state arrives as a watch-list (KEP-3157) and is swapped in at once when it is complete; after that the
//! cache follows the stream, resumes after a break where it was, and starts over only when the server has forgotten
//! that place. Readers get [`Snapshot`]s, which share their objects and never wait for the writer; subscribers get
//! every change of state, joined per object if they are slow, and never silently less.

mod cache;
pub mod index;
mod reflector;
mod subscription;

use std::sync::Arc;

use keelson_process::Shutdown;
use tokio::sync::watch;

pub use cache::Snapshot;
pub use index::{Index, IndexFunction};
pub use subscription::{Event, Subscription};

use crate::{Api, Cached, Client, Object, ObjectKey};
use cache::Cache;

/// What to cache, and how to find it again.
pub struct InformerOptions<K> {
    /// Empty means all namespaces.
    pub namespace: String,
    pub label_selector: String,
    pub field_selector: String,
    pub indexes: Vec<Index<K>>,
    /// Takes out what nobody here reads, before the object is kept. Managed fields always go.
    pub transform: Option<fn(&mut K)>,
}

impl<K> Default for InformerOptions<K> {
    fn default() -> Self {
        InformerOptions {
            namespace: String::new(),
            label_selector: String::new(),
            field_selector: String::new(),
            indexes: Vec::new(),
            transform: None,
        }
    }
}

impl<K> InformerOptions<K> {
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.label_selector = selector.into();
        self
    }

    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.field_selector = selector.into();
        self
    }

    /// Objects can be found by what `function` says of them, under `name`.
    #[must_use]
    pub fn index(mut self, name: &'static str, function: IndexFunction<K>) -> Self {
        self.indexes.push(Index { name, function });
        self
    }

    #[must_use]
    pub fn transform(mut self, transform: fn(&mut K)) -> Self {
        self.transform = Some(transform);
        self
    }
}

/// Ends the watch when the last handle of an informer is gone.
struct StopOnDrop(Shutdown);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.begin();
    }
}

/// A handle of a cache. Cheap to clone; the watch ends with the last handle, or with the process.
pub struct Informer<K> {
    cache: Arc<Cache<K>>,
    synced: watch::Receiver<bool>,
    _stop: Arc<StopOnDrop>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Informer { cache: self.cache.clone(), synced: self.synced.clone(), _stop: self._stop.clone() }
    }
}

impl<K: Object> Informer<K> {
    /// Starts a cache of a kind.
    pub fn start(client: &Client, options: InformerOptions<K>, shutdown: &Shutdown) -> Informer<K> {
        let api = client.namespaced::<K>(&options.namespace);
        Informer::start_on(api, options, shutdown)
    }
}

impl<K: Cached> Informer<K> {
    /// Starts a cache of what `api` names; its namespace counts, not the options'.
    pub fn start_on(api: Api<K>, options: InformerOptions<K>, shutdown: &Shutdown) -> Informer<K> {
        let shutdown = shutdown.child();
        let cache = Arc::new(Cache::new(options.indexes));
        let (sender, synced) = watch::channel(false);
        let reflector = reflector::Reflector {
            api,
            label_selector: options.label_selector,
            field_selector: options.field_selector,
            transform: options.transform,
            cache: cache.clone(),
            synced: Arc::new(sender),
            shutdown: shutdown.clone(),
        };
        reflector.start();
        Informer { cache, synced, _stop: Arc::new(StopOnDrop(shutdown)) }
    }

    /// Resolves when the cache holds a complete state; false if the informer ended before.
    pub async fn synced(&self) -> bool {
        self.synced.clone().wait_for(|synced| *synced).await.is_ok()
    }

    pub fn has_synced(&self) -> bool {
        *self.synced.borrow()
    }

    /// The present state.
    pub fn store(&self) -> Snapshot<K> {
        self.cache.snapshot()
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get_key(&ObjectKey::new(namespace, name))
    }

    pub fn get_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.cache.get(key)
    }

    /// The objects of which the index `name` says `value`; none if there is no such index.
    pub fn by_index(&self, name: &str, value: &str) -> Vec<Arc<K>> {
        self.cache.snapshot().by_index(name, value).cloned().collect()
    }

    /// Changes from now on, after the present state as if it had just been applied.
    pub fn subscribe(&self) -> Subscription<K> {
        self.cache.subscribe()
    }
}
