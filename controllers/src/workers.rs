//! The frame around every controller: a queue of keys, supervised workers that reconcile them, and pumps that turn what
//! informers show into keys.
//!
//! A key is worked on by one worker at a time. One that fails comes again after a back-off that grows, also if the
//! worker panicked over it. A pump that ends by accident ends the process: a controller that no longer hears of changes
//! is worse than none.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keelson_client::workqueue::{Key, Work, WorkQueue};
use keelson_process::supervision::{Role, Spec, supervise};
use keelson_process::{BoxError, Process, Shutdown};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::telemetry::Reconciliations;

/// What reconciles one key.
pub trait Reconciler: Send + Sync + 'static {
    type Key: Key + Display;

    /// Brings what the key names closer to what it should be. A time asks to be called again then, whatever happens.
    fn reconcile(&self, key: &Self::Key) -> impl Future<Output = Result<Option<Duration>, Error>> + Send;
}

/// Why a key was not reconciled this time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Client(#[from] keelson_client::Error),
    /// The view was too old to act on, or the world changed meanwhile: try again.
    #[error("{0}")]
    Again(String),
}

impl Error {
    /// Whether there is nothing to try again: the namespace is going, and its content with it.
    fn is_final(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_namespace_terminating())
    }

    /// Whether this is the ordinary course of things under concurrency, and no news for the log.
    fn is_routine(&self) -> bool {
        match self {
            Self::Client(error) => error.is_conflict() || error.is_not_found(),
            Self::Again(_) => true,
        }
    }
}

/// Starts `count` supervised workers that reconcile what the queue hands out, until the shutdown.
pub fn start<R: Reconciler>(
    process: &Process,
    shutdown: &Shutdown,
    name: &'static str,
    count: usize,
    queue: &WorkQueue<R::Key>,
    reconciler: Arc<R>,
    metrics: &Reconciliations,
) {
    for number in 0..count.max(1) {
        let worker = Worker { name, reconciler: reconciler.clone(), metrics: metrics.clone() };
        let spec = Spec::new(format!("{name}/{number}")).mailbox_capacity(1).stuck_after(Duration::from_secs(300));
        let inbox = supervise(process, spec, move || worker.clone());
        let queue = queue.clone();
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            // One task at a time, so that no key waits behind a busy worker while another is idle.
            let idle = Arc::new(Semaphore::new(1));
            loop {
                let permit = idle.clone().acquire_owned().await.expect("the semaphore is never closed");
                let work = tokio::select! {
                    work = queue.get() => work,
                    () = shutdown.begun() => return,
                };
                let Some(work) = work else { return };
                let task = Task { work, queue: queue.clone(), finished: false, _permit: permit };
                if inbox.send(task).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// A key on its way through a worker. Dropped unfinished, it goes back to the queue.
struct Task<K: Key> {
    work: Work<K>,
    queue: WorkQueue<K>,
    finished: bool,
    _permit: OwnedSemaphorePermit,
}

impl<K: Key> Drop for Task<K> {
    fn drop(&mut self) {
        if !self.finished {
            self.queue.add_rate_limited(self.work.clone());
        }
    }
}

struct Worker<R> {
    name: &'static str,
    reconciler: Arc<R>,
    metrics: Reconciliations,
}

impl<R> Clone for Worker<R> {
    fn clone(&self) -> Self {
        Self { name: self.name, reconciler: self.reconciler.clone(), metrics: self.metrics.clone() }
    }
}

impl<R: Reconciler> Role for Worker<R> {
    type Mail = Task<R::Key>;

    async fn handle(&mut self, mut task: Task<R::Key>) -> Result<(), BoxError> {
        let begun = Instant::now();
        let outcome = self.reconciler.reconcile(&task.work).await;
        self.metrics.record(self.name, begun.elapsed(), outcome.is_ok());
        match outcome {
            Ok(again) => {
                task.finished = true;
                task.queue.forget(&task.work);
                if let Some(delay) = again {
                    task.queue.add_after(task.work.clone(), delay);
                }
            }
            Err(error) if error.is_final() => {
                task.finished = true;
                task.queue.forget(&task.work);
            }
            Err(error) if error.is_routine() => {
                tracing::debug!(controller = self.name, key = %*task.work, %error, "reconciling again");
            }
            Err(error) => {
                tracing::warn!(controller = self.name, key = %*task.work, %error, "cannot reconcile, trying again");
            }
        }
        Ok(())
    }
}

/// Runs what the controller cannot do without, until the shutdown.
pub fn spawn_vital(
    process: &Process,
    shutdown: &Shutdown,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    let process = process.shutdown.clone();
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let mut task = tokio::spawn(task);
        let ended = tokio::select! {
            ended = &mut task => ended,
            () = shutdown.begun() => {
                task.abort();
                return;
            }
        };
        if !shutdown.has_begun() {
            let cause = ended.err().map_or_else(|| "ended".to_owned(), |error| error.to_string());
            process.fail(format!("the {name} stopped following changes: {cause}"));
        }
    });
}
