//! How much is under way at once. Requests beyond it wait in a bounded queue, and beyond that are refused (429).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use keelson_objects::status::StatusError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::registry::Verb;

/// Requests that wait for a place, of each class.
const WAITING: usize = 8192;

struct Class {
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// `--max-requests-inflight` and `--max-mutating-requests-inflight`. Watches are long and cheap, and have a limit of their own.
pub struct Limits {
    reading: Class,
    mutating: Class,
}

impl Limits {
    pub fn new(reading: usize, mutating: usize) -> Limits {
        let class =
            |places: usize| Class { places: Arc::new(Semaphore::new(places.max(1))), waiting: AtomicUsize::new(0) };
        Limits { reading: class(reading), mutating: class(mutating) }
    }

    /// A place for the request, held until it is dropped. A watch takes none here: it lives on after its answer began.
    pub async fn enter(&self, verb: Verb) -> Result<Option<OwnedSemaphorePermit>, StatusError> {
        let class = match verb {
            Verb::Watch => return Ok(None),
            Verb::Get | Verb::List => &self.reading,
            _ => &self.mutating,
        };
        if let Ok(permit) = class.places.clone().try_acquire_owned() {
            return Ok(Some(permit));
        }
        if class.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING {
            class.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(StatusError::too_many_requests("Too many requests, please try again later.", 1));
        }
        let _leave = Leave(&class.waiting);
        let permit = class.places.clone().acquire_owned().await;
        Ok(Some(permit.expect("the semaphore is never closed")))
    }
}

/// Counts down also when the waiting request is dropped.
struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
