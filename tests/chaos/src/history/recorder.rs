//! Writes the history down while it happens.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Moment, Operation, Outcome, Request};

/// Hands out moments and identities.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    next: AtomicU64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { started: Instant::now(), next: AtomicU64::new(1) }
    }
}

impl Clock {
    /// Greater than every moment that was handed out before.
    pub fn moment(&self) -> Moment {
        self.next.fetch_add(1, Ordering::SeqCst)
    }

    pub fn since_start(&self) -> Duration {
        self.started.elapsed()
    }
}

/// The operations of a round. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    clock: Arc<Clock>,
    operations: Arc<Mutex<Vec<Operation>>>,
}

impl Recorder {
    pub fn new(clock: Arc<Clock>) -> Self {
        Self { clock, operations: Arc::default() }
    }

    pub fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Notes that the request leaves now. Until [`Recorder::end`] the operation is open. Returns its place.
    pub fn begin(&self, client: u32, connection: u64, request: Request) -> usize {
        let mut operations = self.operations();
        let invoked = self.clock.moment();
        operations.push(Operation {
            id: invoked,
            client,
            connection,
            invoked,
            request,
            outcome: Outcome::Open,
            since_start: self.clock.since_start(),
        });
        operations.len() - 1
    }

    /// Notes what came back. The outcome is made from the moment of this call.
    pub fn end(&self, place: usize, outcome: impl FnOnce(Moment) -> Outcome) {
        let mut operations = self.operations();
        let at = self.clock.moment();
        if let Some(operation) = operations.get_mut(place) {
            operation.outcome = outcome(at);
        }
    }

    /// All that was recorded, and begins anew.
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.operations())
    }

    fn operations(&self) -> MutexGuard<'_, Vec<Operation>> {
        // A client that panicked left the list whole: each change of it is one call.
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
