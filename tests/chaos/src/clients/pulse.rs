//! When writes are acknowledged: how long the store was away after a fault.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A leader was killed; the next one's first acknowledged write is waited for.
#[derive(Clone, Copy)]
struct Awaited {
    since: Instant,
    term: u64,
}

#[derive(Default)]
struct Inner {
    last: Option<Instant>,
    longest: Duration,
    awaited: Option<Awaited>,
    failovers: Vec<Duration>,
}

#[derive(Default)]
pub struct Pulse {
    inner: Mutex<Inner>,
}

impl Pulse {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write was acknowledged, in this term.
    pub fn acknowledged(&self, term: u64) {
        let mut inner = self.inner();
        let now = Instant::now();
        if let Some(last) = inner.last.replace(now) {
            inner.longest = inner.longest.max(now - last);
        }
        if let Some(awaited) = inner.awaited.take_if(|awaited| term > awaited.term) {
            inner.failovers.push(now - awaited.since);
        }
    }

    /// The leader of this term was just killed.
    pub fn leader_killed(&self, term: u64) {
        self.inner().awaited = Some(Awaited { since: Instant::now(), term });
    }

    /// What is measured now would not be about the leader alone.
    pub fn forget(&self) {
        self.inner().awaited = None;
    }

    /// Between rounds nobody writes.
    pub fn pause(&self) {
        let mut inner = self.inner();
        inner.last = None;
        inner.awaited = None;
    }

    /// From the killing of each leader to the first write that its successor acknowledged.
    pub fn failovers(&self) -> Vec<Duration> {
        self.inner().failovers.clone()
    }

    /// The longest time without an acknowledged write.
    pub fn longest(&self) -> Duration {
        self.inner().longest
    }
}
