//! Pumps that several controllers share.

use keelson_client::informer::{Event, Informer};
use keelson_client::workqueue::WorkQueue;
use keelson_client::{Cached, ObjectKey};

/// Queues every object that changed.
pub async fn objects<K: Cached>(informer: Informer<K>, queue: WorkQueue<ObjectKey>) {
    let mut changes = informer.subscribe();
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { new, .. } => queue.add(new.key()),
            Event::Deleted(object) => queue.add(object.key()),
            Event::Resync => informer.store().iter().for_each(|(key, _)| queue.add(key.clone())),
        }
    }
}

/// Queues the namespace of every object that changed or went away.
pub async fn namespaces_of<K: Cached, N: Cached>(
    informer: Informer<K>,
    namespaces: Informer<N>,
    queue: WorkQueue<ObjectKey>,
) {
    let mut changes = informer.subscribe();
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { old: None, .. } => {}
            Event::Applied { new: object, .. } | Event::Deleted(object) => {
                queue.add(ObjectKey::cluster(&object.key().namespace));
            }
            Event::Resync => namespaces.store().iter().for_each(|(key, _)| queue.add(key.clone())),
        }
    }
}
