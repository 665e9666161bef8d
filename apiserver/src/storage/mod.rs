//! The store as the API server sees it: an etcd v3 client with optimistic transactions.
//!
//! - [`Store`] is the cheap handle. Calls go through a task (`pump`) that keeps a connection, batches what is queued into
//!   raftstore's pipelined stream, or makes plain unary calls where the store is an etcd. Each worker thread of the REST
//!   door has a pump of its own (`per_thread`).
//! - [`Write`] and [`Outcome`] are the one transaction that the pipeline makes: the key must still be at a known revision.
//!   It commits at most once: a lost answer is resolved by asking again under the same condition.
//! - Several endpoints are tried in turn; a call fails only when none has answered within its deadline.

pub mod compaction;
mod companion;
mod endpoints;
mod error;
mod leases;
mod per_thread;
mod pump;
mod transaction;
mod unary;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use keelson_process::Eagerness;
use keelson_wire::{
    etcdserverpb::{RangeRequest, RangeResponse},
    store::{ReadIndexRequest, answer, call},
};
use tokio::sync::{mpsc, oneshot};

pub use companion::Companion;
pub use endpoints::{ConfigurationError, Connection, Endpoints, StoreTls};
pub use error::Error;
use leases::Leases;
pub use per_thread::{Lane, PerThread};
pub use transaction::{Condition, Outcome, Stored, Write};

/// Calls that wait for the pump; beyond it callers wait for a place.
const QUEUE: usize = 8192;
/// How long a call may take over all its attempts.
const DEADLINE: Duration = Duration::from_secs(10);

/// A store on the same machine answers a read within this time.
const READ_SOON: Duration = Duration::from_micros(200);
/// A write, too, if its disk is quick and nobody else writes. Others who need the processor end the look.
const WRITE_SOON: Duration = Duration::from_micros(600);

/// A call on its way to the store.
pub(crate) struct Pending {
    pub request: call::Request,
    /// The caller's span, if it is part of a trace; else empty.
    pub traceparent: String,
    pub reply: oneshot::Sender<Result<answer::Response, Error>>,
}

/// The way to a pump.
#[derive(Clone)]
struct Queue {
    calls: mpsc::Sender<Pending>,
    reads: Arc<Eagerness>,
    writes: Arc<Eagerness>,
}

impl Lane for Queue {
    fn has_ended(&self) -> bool {
        self.calls.is_closed()
    }
}

/// The handle; clone it freely.
#[derive(Clone)]
pub struct Store {
    queues: Arc<PerThread<Queue>>,
    endpoints: Arc<Endpoints>,
    leases: Arc<Leases>,
}

impl Store {
    /// Starts a pump on the present tokio runtime. Pumps end with the last handle; `failed` is called if one ends otherwise.
    pub fn start(endpoints: Endpoints, failed: impl Fn(String) + Send + Sync + 'static) -> Store {
        let endpoints = Arc::new(endpoints);
        let (pump_endpoints, failed) = (endpoints.clone(), Arc::new(failed));
        let queues = PerThread::new(move || {
            let (queue, calls) = mpsc::channel(QUEUE);
            let pump = tokio::spawn(pump::run(calls, pump_endpoints.clone()));
            let failed = failed.clone();
            tokio::spawn(async move {
                // One that was cancelled went with its runtime.
                if let Err(error) = pump.await
                    && error.is_panic()
                {
                    failed(format!("the store client failed: {error}"));
                }
            });
            let (reads, writes) = (Eagerness::new(READ_SOON), Eagerness::new(WRITE_SOON));
            Queue { calls: queue, reads: Arc::new(reads), writes: Arc::new(writes) }
        });
        Store { queues: Arc::new(queues), endpoints, leases: Arc::default() }
    }

    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// One attempt; the answer or why there is none.
    async fn call(&self, request: call::Request) -> Result<answer::Response, Error> {
        let (reply, answer) = oneshot::channel();
        let traceparent = keelson_process::telemetry::current_traceparent().unwrap_or_default();
        let queue = self.queues.get();
        let eagerness = match request {
            call::Request::Txn(_) => &queue.writes,
            _ => &queue.reads,
        };
        queue.calls.send(Pending { request, traceparent, reply }).await.map_err(|_| Error::Stopped)?;
        eagerness.wait(answer).await.unwrap_or(Err(Error::Lost("the connection's task ended".to_owned())))
    }

    /// Attempts until the deadline, for calls that may be repeated.
    async fn persistent(&self, request: call::Request) -> Result<answer::Response, Error> {
        let mut pause = Duration::from_millis(10);
        let attempts = async {
            loop {
                match self.call(request.clone()).await {
                    Err(error) if error.is_transient() => {
                        tracing::debug!(%error, "store call is tried again");
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(Duration::from_millis(500));
                    }
                    answered => return answered,
                }
            }
        };
        tokio::time::timeout(DEADLINE, attempts).await.unwrap_or(Err(Error::TimedOut))
    }

    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        match self.persistent(call::Request::Range(request)).await? {
            answer::Response::Range(response) => Ok(response),
            _ => Err(Error::Protocol("a range was answered with something else")),
        }
    }

    /// The newest value of one key and the store's revision at that time.
    pub async fn get(&self, key: &str) -> Result<(Option<Stored>, i64), Error> {
        let response =
            self.range(RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() }).await?;
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        Ok((response.kvs.into_iter().next().map(Stored::from), revision))
    }

    /// A revision that a read must have seen to be linearizable.
    pub async fn read_index(&self) -> Result<i64, Error> {
        match self.persistent(call::Request::ReadIndex(ReadIndexRequest {})).await? {
            answer::Response::ReadIndex(response) => Ok(response.header.map_or(0, |header| header.revision)),
            _ => Err(Error::Protocol("a read index was answered with something else")),
        }
    }

    /// A lease that lives at least so long, for a write that expires.
    pub async fn lease(&self, time_to_live: Duration) -> Result<i64, Error> {
        tokio::time::timeout(DEADLINE, self.leases.of(time_to_live, &self.endpoints))
            .await
            .unwrap_or(Err(Error::TimedOut))
    }

    /// Commits the write, or says what stood in its way. `Err` means that the outcome is unknown or the store is away.
    pub async fn commit(&self, write: &Write) -> Result<Outcome, Error> {
        let request = write.to_request();
        let mut doubtful = false;
        let mut pause = Duration::from_millis(10);
        let attempts = async {
            loop {
                match self.call(call::Request::Txn(request.clone())).await {
                    Ok(answer::Response::Txn(response)) => return write.outcome(response, doubtful),
                    Ok(_) => return Err(Error::Protocol("a transaction was answered with something else")),
                    Err(error) if error.is_transient() => {
                        tracing::debug!(%error, key = write.key, "transaction is tried again");
                        doubtful |= error.may_have_committed();
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(Duration::from_millis(500));
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        tokio::time::timeout(DEADLINE, attempts).await.unwrap_or(Err(Error::TimedOut))
    }
}
