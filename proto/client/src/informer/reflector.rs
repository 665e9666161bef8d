//! The task that keeps a cache equal to the server's state: one watch, resumed after every break.

use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use keelson_process::Shutdown;
use rand::Rng;
use tokio::sync::watch;

use super::cache::{Cache, Change};
use crate::{Api, Cached, Error, ObjectKey, WatchEvent, WatchOptions};

const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// A stream without even a bookmark for this long is taken for dead.
const SILENCE: Duration = Duration::from_secs(300);

/// From where the next watch goes on.
enum Position {
    /// Nothing is known, or the server has forgotten the place: the present state first.
    Start,
    /// Everything up to this version is in the cache.
    After(String),
}

/// Why a watch ended.
enum Ending {
    /// The server ended it in order.
    Closed,
    /// The server no longer has the history after the position.
    Expired,
    Failed(Error),
    Silent,
    Stopped,
}

pub(super) struct Reflector<K> {
    pub api: Api<K>,
    pub label_selector: String,
    pub field_selector: String,
    pub transform: Option<fn(&mut K)>,
    pub cache: Arc<Cache<K>>,
    pub synced: Arc<watch::Sender<bool>>,
    pub shutdown: Shutdown,
}

impl<K> Clone for Reflector<K> {
    fn clone(&self) -> Self {
        Reflector {
            api: self.api.clone(),
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            transform: self.transform,
            cache: self.cache.clone(),
            synced: self.synced.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

impl<K: Cached> Reflector<K> {
    /// Runs until the shutdown. A panic (in an index function, say) starts it anew from the present state.
    pub(super) fn start(self) {
        tokio::spawn(async move {
            while let Err(error) = tokio::spawn(self.clone().run()).await {
                tracing::error!(resource = self.resource(), %error, "informer failed, starting it anew");
                tokio::time::sleep(MAX_BACKOFF).await;
            }
            self.cache.close();
        });
    }

    fn resource(&self) -> String {
        self.api.target("", "").resource
    }

    async fn run(self) {
        let mut position = Position::Start;
        let mut backoff = FIRST_BACKOFF;
        loop {
            let mut progressed = false;
            let ending = self.follow(&mut position, &mut progressed).await;
            if progressed {
                backoff = FIRST_BACKOFF;
            }
            match ending {
                Ending::Stopped => return,
                Ending::Closed if progressed => continue,
                Ending::Closed | Ending::Silent => {}
                Ending::Expired => {
                    tracing::info!(resource = self.resource(), "watch expired, reading the present state again");
                    position = Position::Start;
                }
                Ending::Failed(error) => {
                    tracing::warn!(resource = self.resource(), %error, "watch failed, trying again");
                }
            }
            let jittered = backoff.mul_f64(rand::rng().random_range(0.5..1.0));
            tokio::select! {
                () = tokio::time::sleep(jittered) => {}
                () = self.shutdown.begun() => return,
            }
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    /// One watch from `position` to its end.
    async fn follow(&self, position: &mut Position, progressed: &mut bool) -> Ending {
        let (resource_version, send_initial_events) = match position {
            Position::Start => (String::new(), true),
            Position::After(version) => (version.clone(), false),
        };
        let options = WatchOptions {
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            resource_version,
            send_initial_events,
            timeout: None,
        };
        let opened = tokio::select! {
            opened = self.api.watch(&options) => opened,
            () = self.shutdown.begun() => return Ending::Stopped,
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) if error.is_expired() => return Ending::Expired,
            Err(error) => return Ending::Failed(error),
        };
        let mut initial = send_initial_events.then(OrdMap::new);
        loop {
            let batch = tokio::select! {
                batch = tokio::time::timeout(SILENCE, stream.batch()) => batch,
                () = self.shutdown.begun() => return Ending::Stopped,
            };
            let batch = match batch {
                Err(_) => return Ending::Silent,
                Ok(Ok(None)) => return Ending::Closed,
                Ok(Err(error)) => return Ending::Failed(error),
                Ok(Ok(Some(batch))) => batch,
            };
            *progressed = true;
            if let Some(ending) = self.take(batch, position, &mut initial) {
                return ending;
            }
        }
    }

    /// Takes events into the cache, or into the initial state while that is incomplete.
    fn take(
        &self,
        batch: Vec<Result<WatchEvent<K>, Error>>,
        position: &mut Position,
        initial: &mut Option<OrdMap<ObjectKey, Arc<K>>>,
    ) -> Option<Ending> {
        let mut changes = Vec::with_capacity(batch.len());
        let mut ending = None;
        for event in batch {
            let change = match event {
                Ok(WatchEvent::Added(object) | WatchEvent::Modified(object)) => Change::Applied(self.slim(object)),
                Ok(WatchEvent::Deleted(object)) => Change::Deleted(self.slim(object)),
                Ok(WatchEvent::Bookmark { resource_version, initial_end }) => {
                    if initial_end && let Some(objects) = initial.take() {
                        self.cache.replace(objects);
                        self.synced.send_replace(true);
                    }
                    if initial.is_none() && !resource_version.is_empty() {
                        *position = Position::After(resource_version);
                    }
                    continue;
                }
                Ok(WatchEvent::Error(status)) => {
                    let error = Error::Api(status);
                    ending = Some(if error.is_expired() { Ending::Expired } else { Ending::Failed(error) });
                    break;
                }
                Err(error) => {
                    tracing::error!(resource = self.resource(), %error, "an object cannot be read and is left out");
                    continue;
                }
            };
            match (initial.as_mut(), change) {
                (Some(objects), Change::Applied(object)) => {
                    objects.insert(object.key(), object);
                }
                (Some(objects), Change::Deleted(object)) => {
                    objects.remove(&object.key());
                }
                (None, change) => {
                    let (Change::Applied(object) | Change::Deleted(object)) = &change;
                    *position = Position::After(object.resource_version().to_owned());
                    changes.push(change);
                }
            }
        }
        if !changes.is_empty() {
            self.cache.apply(changes);
        }
        ending
    }

    fn slim(&self, mut object: K) -> Arc<K> {
        object.slim();
        if let Some(transform) = self.transform {
            transform(&mut object);
        }
        Arc::new(object)
    }
}
