//! The objects, their indexes and their subscribers, changed together under one lock.
//!
//! The maps are persistent: a snapshot is a few pointers, and a change copies only the path to what it changes.

use std::sync::{Arc, Weak};

use imbl::{HashMap, OrdMap};
use parking_lot::RwLock;

use super::index::Index;
use super::subscription::{Mailbox, Subscription};
use crate::{Cached, ObjectKey};

type Objects<K> = OrdMap<ObjectKey, Arc<K>>;
type IndexMap<K> = HashMap<Arc<str>, Objects<K>>;

/// The state of a cache at one moment.
pub struct Snapshot<K> {
    objects: Objects<K>,
    indexes: Vec<(&'static str, IndexMap<K>)>,
}

impl<K> Clone for Snapshot<K> {
    fn clone(&self) -> Self {
        Snapshot { objects: self.objects.clone(), indexes: self.indexes.clone() }
    }
}

impl<K> Snapshot<K> {
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(&ObjectKey::new(namespace, name))
    }

    pub fn get_key(&self, key: &ObjectKey) -> Option<&Arc<K>> {
        self.objects.get(key)
    }

    /// All objects, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<K>)> {
        self.objects.iter()
    }

    pub fn values(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    /// The objects of one namespace, by name.
    pub fn namespace<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = &'a Arc<K>> {
        let first = ObjectKey::new(namespace, "");
        let range = self.objects.range(first..);
        range.take_while(move |(key, _)| &*key.namespace == namespace).map(|(_, object)| object)
    }

    /// The objects of which the index `name` says `value`.
    pub fn by_index(&self, name: &str, value: &str) -> impl Iterator<Item = &Arc<K>> {
        let index = self.indexes.iter().find(|(index, _)| *index == name);
        let found = index.and_then(|(_, values)| values.get(value));
        found.into_iter().flat_map(OrdMap::values)
    }
}

struct State<K> {
    snapshot: Snapshot<K>,
    subscribers: Vec<Weak<Mailbox<K>>>,
    closed: bool,
}

/// What became of one object.
pub(super) enum Change<K> {
    Applied(Arc<K>),
    Deleted(Arc<K>),
}

pub(super) struct Cache<K> {
    functions: Vec<Index<K>>,
    state: RwLock<State<K>>,
}

impl<K> Drop for Cache<K> {
    fn drop(&mut self) {
        close(self.state.get_mut());
    }
}

fn close<K>(state: &mut State<K>) {
    state.closed = true;
    for mailbox in state.subscribers.drain(..).filter_map(|mailbox| mailbox.upgrade()) {
        mailbox.close();
    }
}

impl<K: Cached> Cache<K> {
    pub(super) fn new(functions: Vec<Index<K>>) -> Cache<K> {
        let indexes = functions.iter().map(|index| (index.name, IndexMap::new())).collect();
        let snapshot = Snapshot { objects: Objects::new(), indexes };
        Cache { functions, state: RwLock::new(State { snapshot, subscribers: Vec::new(), closed: false }) }
    }

    pub(super) fn snapshot(&self) -> Snapshot<K> {
        self.state.read().snapshot.clone()
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.state.read().snapshot.objects.get(key).cloned()
    }

    pub(super) fn subscribe(&self) -> Subscription<K> {
        let mut state = self.state.write();
        let mailbox = Arc::new(Mailbox::new());
        for (key, object) in state.snapshot.objects.iter() {
            mailbox.applied(key, None, object);
        }
        if state.closed {
            mailbox.close();
        } else {
            state.subscribers.push(Arc::downgrade(&mailbox));
        }
        Subscription::new(mailbox)
    }

    /// Applies what a watch said, in order and at once.
    pub(super) fn apply(&self, changes: Vec<Change<K>>) {
        let mut state = self.state.write();
        for change in changes {
            match change {
                Change::Applied(object) => self.insert(&mut state, object.key(), object),
                Change::Deleted(object) => self.remove(&mut state, &object.key(), &object),
            }
        }
        wake(&mut state);
    }

    /// Puts a complete state in the place of the present one; subscribers see the difference.
    pub(super) fn replace(&self, objects: Objects<K>) {
        let mut state = self.state.write();
        let old = state.snapshot.objects.clone();
        for (key, object) in old.iter().filter(|(key, _)| !objects.contains_key(*key)) {
            self.remove(&mut state, key, object);
        }
        for (key, object) in objects {
            let present = old.get(&key);
            let known = present.is_some_and(|present| {
                present.resource_version() == object.resource_version() && present.uid() == object.uid()
            });
            if !known {
                self.insert(&mut state, key, object);
            }
        }
        wake(&mut state);
    }

    pub(super) fn close(&self) {
        close(&mut self.state.write());
    }

    fn insert(&self, state: &mut State<K>, key: ObjectKey, object: Arc<K>) {
        let old = state.snapshot.objects.insert(key.clone(), object.clone());
        for (function, (_, values)) in self.functions.iter().zip(&mut state.snapshot.indexes) {
            let after = (function.function)(&object);
            for value in old.iter().flat_map(|old| (function.function)(old)) {
                if !after.contains(&value) {
                    unindex(values, &value, &key);
                }
            }
            for value in after {
                values.entry(value.as_str().into()).or_default().insert(key.clone(), object.clone());
            }
        }
        for mailbox in state.subscribers.iter().filter_map(Weak::upgrade) {
            mailbox.applied(&key, old.as_ref(), &object);
        }
    }

    fn remove(&self, state: &mut State<K>, key: &ObjectKey, last: &Arc<K>) {
        let Some(old) = state.snapshot.objects.remove(key) else { return };
        for (function, (_, values)) in self.functions.iter().zip(&mut state.snapshot.indexes) {
            for value in (function.function)(&old) {
                unindex(values, &value, key);
            }
        }
        for mailbox in state.subscribers.iter().filter_map(Weak::upgrade) {
            mailbox.deleted(key, &old, last);
        }
    }
}

fn unindex<K>(values: &mut IndexMap<K>, value: &str, key: &ObjectKey) {
    if let Some(objects) = values.get_mut(value) {
        objects.remove(key);
        if objects.is_empty() {
            values.remove(value);
        }
    }
}

/// Wakes the subscribers, and forgets those that are gone.
fn wake<K>(state: &mut State<K>) {
    state.subscribers.retain(|mailbox| match mailbox.upgrade() {
        Some(mailbox) => {
            mailbox.wake();
            true
        }
        None => false,
    });
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;

    use super::super::subscription::Event;
    use super::super::{Index, index};
    use super::*;

    fn pod(name: &str, node: &str, version: &str) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        pod.metadata.namespace = Some("ns".to_owned());
        pod.metadata.uid = Some(format!("uid-{name}"));
        pod.metadata.resource_version = Some(version.to_owned());
        pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
        Arc::new(pod)
    }

    fn cache() -> Cache<Pod> {
        Cache::new(vec![Index { name: index::NODE, function: index::node_name }])
    }

    fn describe(event: &Event<Pod>) -> String {
        match event {
            Event::Applied { old, new } => {
                let old = old.as_ref().map(|old| old.resource_version().to_owned()).unwrap_or_default();
                format!("applied {} {old}->{}", new.key(), new.resource_version())
            }
            Event::Deleted(object) => format!("deleted {}", object.key()),
            Event::Resync => "resync".to_owned(),
        }
    }

    #[test]
    fn indexes_follow_the_objects() {
        let cache = cache();
        cache.apply(vec![Change::Applied(pod("a", "n1", "1")), Change::Applied(pod("b", "n1", "2"))]);
        let before = cache.snapshot();
        cache.apply(vec![Change::Applied(pod("a", "n2", "3")), Change::Deleted(pod("b", "n1", "4"))]);
        let names = |snapshot: &Snapshot<Pod>, node: &str| {
            snapshot.by_index(index::NODE, node).map(|pod| pod.key().name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&before, "n1"), ["a", "b"]);
        assert!(names(&cache.snapshot(), "n1").is_empty());
        assert_eq!(names(&cache.snapshot(), "n2"), ["a"]);
        assert_eq!(before.namespace("ns").count(), 2);
        assert_eq!(before.namespace("other").count(), 0);
    }

    #[test]
    fn a_subscriber_sees_every_object_and_joined_changes() {
        let cache = cache();
        cache.apply(vec![Change::Applied(pod("a", "", "1"))]);
        let mut subscription = cache.subscribe();
        cache.apply(vec![Change::Applied(pod("a", "", "2")), Change::Applied(pod("b", "", "3"))]);
        cache.apply(vec![Change::Applied(pod("b", "", "4")), Change::Applied(pod("c", "", "5"))]);
        cache.apply(vec![Change::Deleted(pod("c", "", "6"))]);
        let events: Vec<String> = subscription.take_ready().iter().map(describe).collect();
        assert_eq!(events, ["applied ns/a ->2", "applied ns/b ->4", "applied ns/c ->6", "deleted ns/c"]);
        cache.apply(vec![Change::Applied(pod("a", "", "7"))]);
        cache.apply(vec![Change::Deleted(pod("a", "", "8"))]);
        let events: Vec<String> = subscription.take_ready().iter().map(describe).collect();
        assert_eq!(events, ["deleted ns/a"]);
    }

    #[test]
    fn a_replaced_state_reaches_subscribers_as_the_difference() {
        let cache = cache();
        cache.apply(vec![Change::Applied(pod("a", "", "1")), Change::Applied(pod("b", "", "2"))]);
        let mut subscription = cache.subscribe();
        subscription.take_ready();
        let objects = [pod("b", "", "2"), pod("c", "", "9")].into_iter().map(|pod| (pod.key(), pod)).collect();
        cache.replace(objects);
        let events: Vec<String> = subscription.take_ready().iter().map(describe).collect();
        assert_eq!(events, ["deleted ns/a", "applied ns/c ->9"]);
        assert_eq!(cache.snapshot().len(), 2);
    }
}
