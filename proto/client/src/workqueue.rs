//! A queue of keys with client-go's promises.
//!
//! A key waits at most once; a key that is added while it is being worked on comes again afterwards, and never is one
//! worked on twice at a time. The queue is bounded by the number of different keys.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The first wait after a failure; it doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_secs(1000);

pub trait Key: Clone + Eq + Hash + Send + Sync + 'static {}

impl<T: Clone + Eq + Hash + Send + Sync + 'static> Key for T {}

struct State<T> {
    ready: VecDeque<T>,
    /// Waiting in `ready`, or to be put there when the work at hand is done.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    failures: HashMap<T, u32>,
    /// When a delayed key is due; entries of `timers` that do not agree are outdated.
    delayed: HashMap<T, Instant>,
    timers: BinaryHeap<Reverse<Timer<T>>>,
    closed: bool,
}

/// Ordered by time alone.
struct Timer<T> {
    due: Instant,
    key: T,
}

impl<T> PartialEq for Timer<T> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl<T> Eq for Timer<T> {}

impl<T> PartialOrd for Timer<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Timer<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Something is ready, or the queue was closed.
    ready: Notify,
    /// An earlier timer was set, or the queue was closed.
    timer: Notify,
}

/// Cheap to clone.
pub struct WorkQueue<T: Key> {
    shared: Arc<Shared<T>>,
}

impl<T: Key> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        WorkQueue { shared: self.shared.clone() }
    }
}

impl<T: Key> Default for WorkQueue<T> {
    fn default() -> Self {
        WorkQueue::new()
    }
}

impl<T: Key> WorkQueue<T> {
    /// Must be called within a tokio runtime: a task of the queue watches over delayed keys.
    pub fn new() -> WorkQueue<T> {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            failures: HashMap::new(),
            delayed: HashMap::new(),
            timers: BinaryHeap::new(),
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), ready: Notify::new(), timer: Notify::new() });
        tokio::spawn(move_due_keys(Arc::downgrade(&shared)));
        WorkQueue { shared }
    }

    pub fn add(&self, key: T) {
        self.shared.add(&mut self.shared.state.lock(), key);
    }

    /// Adds the key when the time has passed; of several times the earliest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let due = Instant::now() + delay;
        let mut state = self.shared.state.lock();
        if state.closed || state.delayed.get(&key).is_some_and(|present| *present <= due) {
            return;
        }
        state.delayed.insert(key.clone(), due);
        let earliest = state.timers.peek().is_none_or(|Reverse(timer)| due < timer.due);
        state.timers.push(Reverse(Timer { due, key }));
        if earliest {
            self.shared.timer.notify_one();
        }
    }

    /// Adds the key after its back-off, which grows until [`WorkQueue::forget`].
    pub fn add_rate_limited(&self, key: T) {
        let failures = {
            let mut state = self.shared.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures
        };
        self.add_after(key, backoff(failures));
    }

    /// The key's work succeeded: its back-off starts over.
    pub fn forget(&self, key: &T) {
        self.shared.state.lock().failures.remove(key);
    }

    /// How often the key failed since it was last forgotten.
    pub fn failures(&self, key: &T) -> u32 {
        self.shared.state.lock().failures.get(key).copied().unwrap_or_default()
    }

    /// The next key to work on; `None` when the queue is closed and empty. The key counts as being worked on until the
    /// answer is dropped. Safe to drop and call again.
    pub async fn get(&self) -> Option<Work<T>> {
        loop {
            {
                let mut state = self.shared.state.lock();
                if let Some(key) = state.ready.pop_front() {
                    state.dirty.remove(&key);
                    state.processing.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.shared.ready.notify_one();
                    }
                    return Some(Work { shared: self.shared.clone(), key });
                }
                if state.closed {
                    // Each waiting worker wakes the next.
                    self.shared.ready.notify_one();
                    return None;
                }
            }
            self.shared.ready.notified().await;
        }
    }

    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes no more keys; those that are ready are still handed out.
    pub fn close(&self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        state.delayed.clear();
        state.timers.clear();
        drop(state);
        self.shared.ready.notify_one();
        self.shared.timer.notify_one();
    }
}

fn backoff(failures: u32) -> Duration {
    let doublings = (failures - 1).min(32);
    FIRST_BACKOFF.saturating_mul(1 << doublings.min(31)).min(MAX_BACKOFF)
}

impl<T: Key> Shared<T> {
    fn add(&self, state: &mut State<T>, key: T) {
        if state.closed || !state.dirty.insert(key.clone()) || state.processing.contains(&key) {
            return;
        }
        state.ready.push_back(key);
        self.ready.notify_one();
    }
}

/// A key that is being worked on.
pub struct Work<T: Key> {
    shared: Arc<Shared<T>>,
    key: T,
}

impl<T: Key> Deref for Work<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.key
    }
}

impl<T: Key> Drop for Work<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.processing.remove(&self.key);
        if state.dirty.contains(&self.key) {
            state.ready.push_back(self.key.clone());
            self.shared.ready.notify_one();
        }
    }
}

/// Moves delayed keys to the ready ones when they are due; ends with the queue.
async fn move_due_keys<T: Key>(queue: Weak<Shared<T>>) {
    loop {
        let Some(shared) = queue.upgrade() else { return };
        let next = {
            let mut state = shared.state.lock();
            let now = Instant::now();
            while state.timers.peek().is_some_and(|Reverse(timer)| timer.due <= now) {
                let Some(Reverse(Timer { due, key })) = state.timers.pop() else { break };
                if state.delayed.get(&key) == Some(&due) {
                    state.delayed.remove(&key);
                    shared.add(&mut state, key);
                }
            }
            if state.closed {
                return;
            }
            state.timers.peek().map(|Reverse(timer)| timer.due)
        };
        // Without a timer it still looks now and then whether the queue is gone.
        let wake = next.unwrap_or_else(|| Instant::now() + Duration::from_secs(60));
        tokio::select! {
            () = tokio::time::sleep_until(wake) => {}
            () = shared.timer.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_waits_once_and_comes_again_after_its_work() {
        let queue = WorkQueue::new();
        queue.add("a");
        queue.add("a");
        queue.add("b");
        let first = queue.get().await.unwrap();
        assert_eq!(*first, "a");
        queue.add("a");
        assert_eq!(queue.len(), 1, "what is being worked on does not wait beside");
        assert_eq!(*queue.get().await.unwrap(), "b");
        drop(first);
        assert_eq!(*queue.get().await.unwrap(), "a");
        assert!(queue.is_empty());
    }

    #[tokio::test]
    async fn delayed_keys_come_in_the_order_of_their_times() {
        let queue = WorkQueue::new();
        queue.add_after("late", Duration::from_secs(3600));
        queue.add_after("early", Duration::from_millis(20));
        queue.add_after("late", Duration::from_millis(5));
        assert_eq!(*queue.get().await.unwrap(), "late");
        assert_eq!(*queue.get().await.unwrap(), "early");
        assert!(queue.shared.state.lock().delayed.is_empty());
    }

    #[tokio::test]
    async fn failures_are_counted_until_forgotten() {
        let queue = WorkQueue::new();
        for expected in 1..=3 {
            queue.add_rate_limited("a");
            queue.get().await.unwrap();
            assert_eq!(queue.failures(&"a"), expected);
        }
        queue.forget(&"a");
        assert_eq!(queue.failures(&"a"), 0);
    }

    #[test]
    fn the_wait_doubles_up_to_its_limit() {
        let waits: Vec<_> = (1..=4).map(|failures| backoff(failures).as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40]);
        assert_eq!(backoff(100), MAX_BACKOFF);
    }

    #[tokio::test]
    async fn a_closed_queue_ends_all_workers() {
        let queue: WorkQueue<&str> = WorkQueue::new();
        queue.add("a");
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move { while queue.get().await.is_some() {} })
            })
            .collect();
        queue.close();
        for worker in workers {
            worker.await.unwrap();
        }
    }
}
