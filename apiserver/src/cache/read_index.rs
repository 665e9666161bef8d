//! Consistent reads: one question to the store for all readers that wait at a moment.
//!
//! A reader that arrives while a question is under way waits for the next one, because the answer under way may
//! be from before it came. Each worker thread asks for its own readers.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::storage::{Error, Lane, PerThread, Store};

/// Readers that wait to be taken along.
const WAITING: usize = 4096;
/// How long the cache may take to reach what the store has.
const PATIENCE: Duration = Duration::from_secs(5);

type Reader = oneshot::Sender<Result<(), Error>>;

#[derive(Clone)]
struct Readers(mpsc::Sender<Reader>);

impl Lane for Readers {
    fn has_ended(&self) -> bool {
        self.0.is_closed()
    }
}

pub(super) struct ReadIndex {
    readers: PerThread<Readers>,
}

impl ReadIndex {
    pub fn start(store: Store, revision: watch::Receiver<i64>) -> ReadIndex {
        let readers = PerThread::new(move || {
            let (readers, waiting) = mpsc::channel(WAITING);
            tokio::spawn(serve(waiting, store.clone(), revision.clone()));
            Readers(readers)
        });
        ReadIndex { readers }
    }

    /// Answers when the cache holds everything that was committed before the call.
    pub async fn confirmed(&self) -> Result<(), Error> {
        let (reader, confirmed) = oneshot::channel();
        self.readers.get().0.send(reader).await.map_err(|_| Error::Stopped)?;
        confirmed.await.unwrap_or(Err(Error::Stopped))
    }
}

async fn serve(mut waiting: mpsc::Receiver<Reader>, store: Store, revision: watch::Receiver<i64>) {
    loop {
        let mut readers = Vec::new();
        if waiting.recv_many(&mut readers, WAITING).await == 0 {
            return;
        }
        match store.read_index().await {
            Ok(index) if *revision.borrow() >= index => answer(readers, &Ok(())),
            // The cache lags: let these wait aside, and take the next ones along meanwhile.
            Ok(index) => drop(tokio::spawn(wait(readers, index, revision.clone()))),
            Err(error) => answer(readers, &Err(error)),
        }
    }
}

async fn wait(readers: Vec<Reader>, index: i64, mut revision: watch::Receiver<i64>) {
    let reached = tokio::time::timeout(PATIENCE, revision.wait_for(|revision| *revision >= index)).await;
    let result = match reached {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Error::Stopped),
        Err(_) => Err(Error::TimedOut),
    };
    answer(readers, &result);
}

fn answer(readers: Vec<Reader>, result: &Result<(), Error>) {
    for reader in readers {
        // A reader that left needs no answer.
        let _ = reader.send(result.clone());
    }
}
