//! Changes on their way to one subscriber.
//!
//! A slow subscriber costs one entry for each object that changed since it last looked: changes of one object join.
//! The number of entries is limited; past the limit they are dropped and the subscriber is told to look at the store.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{Cached, ObjectKey};

/// Objects with undelivered changes, at most.
const MAX_PENDING: usize = 100_000;

/// A change of state.
#[derive(Debug)]
pub enum Event<K> {
    /// The object is new (`old` is `None`) or has changed.
    Applied { old: Option<Arc<K>>, new: Arc<K> },
    /// The object is gone; this is its last known state.
    Deleted(Arc<K>),
    /// Changes were dropped: whatever is derived from the cache is to be derived anew from its store.
    Resync,
}

/// What one object was when the subscriber last saw it, and what it is now.
struct Pending<K> {
    before: Option<Arc<K>>,
    now: Option<Arc<K>>,
    last: Arc<K>,
}

struct Queue<K> {
    order: VecDeque<ObjectKey>,
    pending: HashMap<ObjectKey, Pending<K>>,
    resync: bool,
    closed: bool,
}

pub(super) struct Mailbox<K> {
    queue: Mutex<Queue<K>>,
    notify: Notify,
}

impl<K> Mailbox<K> {
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.notify.notify_one();
    }

    pub(super) fn wake(&self) {
        let queue = self.queue.lock();
        if queue.resync || !queue.order.is_empty() {
            self.notify.notify_one();
        }
    }
}

impl<K: Cached> Mailbox<K> {
    pub(super) fn new() -> Mailbox<K> {
        let queue = Queue { order: VecDeque::new(), pending: HashMap::new(), resync: false, closed: false };
        Mailbox { queue: Mutex::new(queue), notify: Notify::new() }
    }

    pub(super) fn applied(&self, key: &ObjectKey, old: Option<&Arc<K>>, new: &Arc<K>) {
        self.queue.lock().put(key, old, Some(new), new);
    }

    pub(super) fn deleted(&self, key: &ObjectKey, old: &Arc<K>, last: &Arc<K>) {
        self.queue.lock().put(key, Some(old), None, last);
    }
}

impl<K: Cached> Queue<K> {
    fn put(&mut self, key: &ObjectKey, old: Option<&Arc<K>>, now: Option<&Arc<K>>, last: &Arc<K>) {
        if let Some(pending) = self.pending.get_mut(key) {
            pending.now = now.cloned();
            pending.last = last.clone();
            return;
        }
        if self.pending.len() >= MAX_PENDING {
            self.order.clear();
            self.pending.clear();
            self.resync = true;
        }
        self.order.push_back(key.clone());
        let pending = Pending { before: old.cloned(), now: now.cloned(), last: last.clone() };
        self.pending.insert(key.clone(), pending);
    }

    fn take(&mut self, events: &mut VecDeque<Event<K>>) {
        if std::mem::take(&mut self.resync) {
            events.push_back(Event::Resync);
        }
        for key in self.order.drain(..) {
            let Some(Pending { before, now, last }) = self.pending.remove(&key) else { continue };
            match (before, now) {
                (Some(before), Some(now)) if before.uid() == now.uid() => {
                    events.push_back(Event::Applied { old: Some(before), new: now });
                }
                // Another object of the same name took its place.
                (Some(before), Some(now)) => {
                    events.push_back(Event::Deleted(before));
                    events.push_back(Event::Applied { old: None, new: now });
                }
                (None, Some(now)) => events.push_back(Event::Applied { old: None, new: now }),
                (Some(_), None) => events.push_back(Event::Deleted(last)),
                // It came and went between two looks: whoever waits for its coming must learn of it.
                (None, None) => {
                    events.push_back(Event::Applied { old: None, new: last.clone() });
                    events.push_back(Event::Deleted(last));
                }
            }
        }
    }
}

/// The receiving end. Dropping it ends the subscription.
pub struct Subscription<K> {
    mailbox: Arc<Mailbox<K>>,
    ready: VecDeque<Event<K>>,
}

impl<K: Cached> Subscription<K> {
    pub(super) fn new(mailbox: Arc<Mailbox<K>>) -> Subscription<K> {
        Subscription { mailbox, ready: VecDeque::new() }
    }

    /// The next change; `None` when the informer has ended. Safe to drop and call again.
    pub async fn next(&mut self) -> Option<Event<K>> {
        self.fill().await.then(|| self.ready.pop_front()).flatten()
    }

    /// All changes that are there, at least one; `None` when the informer has ended.
    pub async fn batch(&mut self) -> Option<Vec<Event<K>>> {
        self.fill().await.then(|| self.ready.drain(..).collect())
    }

    /// The changes that are there now, perhaps none.
    pub fn take_ready(&mut self) -> Vec<Event<K>> {
        self.mailbox.queue.lock().take(&mut self.ready);
        self.ready.drain(..).collect()
    }

    /// Waits until something is ready; false at the end.
    async fn fill(&mut self) -> bool {
        loop {
            if !self.ready.is_empty() {
                return true;
            }
            let closed = {
                let mut queue = self.mailbox.queue.lock();
                queue.take(&mut self.ready);
                queue.closed
            };
            if self.ready.is_empty() {
                if closed {
                    return false;
                }
                self.mailbox.notify.notified().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    fn object(name: &str, uid: &str) -> Arc<ConfigMap> {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.uid = Some(uid.to_owned());
        Arc::new(object)
    }

    #[test]
    fn another_object_of_the_same_name_is_two_events() {
        let mailbox = Arc::new(Mailbox::new());
        let (first, second) = (object("a", "1"), object("a", "2"));
        mailbox.deleted(&first.key(), &first, &first);
        mailbox.applied(&second.key(), None, &second);
        let mut subscription = Subscription::new(mailbox);
        let events = subscription.take_ready();
        assert!(matches!(&events[..], [Event::Deleted(gone), Event::Applied { old: None, new }]
            if gone.uid() == "1" && new.uid() == "2"));
    }

    #[test]
    fn past_the_limit_the_subscriber_is_told() {
        let mailbox = Arc::new(Mailbox::new());
        let shared = object("a", "1");
        for number in 0..=MAX_PENDING {
            mailbox.applied(&ObjectKey::cluster(&number.to_string()), None, &shared);
        }
        let mut subscription = Subscription::new(mailbox);
        let events = subscription.take_ready();
        assert!(matches!(&events[..], [Event::Resync, Event::Applied { .. }]));
    }

    #[tokio::test]
    async fn a_subscription_ends_with_its_informer() {
        let mailbox = Arc::new(Mailbox::new());
        let first = object("a", "1");
        mailbox.applied(&first.key(), None, &first);
        mailbox.close();
        let mut subscription = Subscription::new(mailbox);
        assert!(subscription.next().await.is_some());
        assert!(subscription.next().await.is_none());
    }
}
