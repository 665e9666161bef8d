//! A channel of which only the newest value counts, like tokio's; those who wait are woken in the order of their making.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::ops::Deref;
use std::sync::Arc;
use std::task::{Poll, Waker};

use openraft::async_runtime::watch as openraft_watch;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

#[derive(Debug)]
pub struct Closed;

struct Shared<T> {
    value: RwLock<T>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    version: u64,
    senders: usize,
    receivers: u64,
    wakers: BTreeMap<u64, Waker>,
}

impl<T> Shared<T> {
    fn wake(&self, change: impl FnOnce(&mut Waiting)) {
        let wakers = {
            let mut waiting = self.waiting.lock();
            change(&mut waiting);
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_values().for_each(Waker::wake);
    }

    fn receiver(self: &Arc<Self>, seen: Option<u64>) -> Receiver<T> {
        let mut waiting = self.waiting.lock();
        waiting.receivers += 1;
        Receiver { id: waiting.receivers, seen: seen.unwrap_or(waiting.version), shared: self.clone() }
    }
}

pub struct Sender<T>(Arc<Shared<T>>);

pub struct Receiver<T> {
    id: u64,
    seen: u64,
    shared: Arc<Shared<T>>,
}

pub struct Ref<'a, T>(RwLockReadGuard<'a, T>);

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Sender<T> {
    pub fn new(value: T) -> Self {
        let waiting = Waiting { senders: 1, ..Waiting::default() };
        Self(Arc::new(Shared { value: RwLock::new(value), waiting: Mutex::new(waiting) }))
    }

    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.0.value.read())
    }

    pub fn subscribe(&self) -> Receiver<T> {
        self.0.receiver(None)
    }

    pub fn send_replace(&self, value: T) -> T {
        let old = std::mem::replace(&mut *self.0.value.write(), value);
        self.0.wake(|waiting| waiting.version += 1);
        old
    }

    pub fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let modified = modify(&mut self.0.value.write());
        if modified {
            self.0.wake(|waiting| waiting.version += 1);
        }
        modified
    }
}

impl<T: Default> Default for Sender<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.waiting.lock().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.wake(|waiting| waiting.senders -= 1);
    }
}

impl<T> Receiver<T> {
    pub fn borrow(&self) -> Ref<'_, T> {
        Ref(self.shared.value.read())
    }

    pub fn mark_unchanged(&mut self) {
        self.seen = self.shared.waiting.lock().version;
    }

    pub async fn changed(&mut self) -> Result<(), Closed> {
        poll_fn(|context| {
            let mut waiting = self.shared.waiting.lock();
            if waiting.version != self.seen {
                self.seen = waiting.version;
                return Poll::Ready(Ok(()));
            }
            if waiting.senders == 0 {
                return Poll::Ready(Err(Closed));
            }
            waiting.wakers.insert(self.id, context.waker().clone());
            Poll::Pending
        })
        .await
    }

    pub async fn wait_for(&mut self, mut condition: impl FnMut(&T) -> bool) -> Result<(), Closed> {
        loop {
            self.mark_unchanged();
            if condition(&self.borrow()) {
                return Ok(());
            }
            self.changed().await?;
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receiver(Some(self.seen))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.waiting.lock().wakers.remove(&self.id);
    }
}

/// The same for openraft.
pub struct SimulatedWatch;

impl openraft_watch::Watch for SimulatedWatch {
    type Sender<T: openraft::OptionalSend + openraft::OptionalSync> = Sender<T>;
    type Receiver<T: openraft::OptionalSend + openraft::OptionalSync> = Receiver<T>;
    type Ref<'a, T: openraft::OptionalSend + 'a> = Ref<'a, T>;

    fn channel<T: openraft::OptionalSend + openraft::OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let sender = Sender::new(init);
        let receiver = sender.subscribe();
        (sender, receiver)
    }
}

impl<T: Send + Sync> openraft_watch::WatchSender<SimulatedWatch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), openraft_watch::SendError<T>> {
        self.send_replace(value);
        Ok(())
    }

    fn send_if_modified<F: FnOnce(&mut T) -> bool>(&self, modify: F) -> bool {
        Sender::send_if_modified(self, modify)
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.borrow()
    }

    fn subscribe(&self) -> Receiver<T> {
        Sender::subscribe(self)
    }
}

impl<T: Send + Sync> openraft_watch::WatchReceiver<SimulatedWatch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), openraft_watch::RecvError> {
        Receiver::changed(self).await.map_err(|Closed| openraft_watch::RecvError(()))
    }

    fn borrow_watched(&self) -> Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> Ref<'_, T> {
        self.mark_unchanged();
        self.borrow()
    }
}
