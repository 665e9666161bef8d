//! A snapshot on its way in, which a broken connection does not end.
//!
//! What has come is kept for a while. Whoever sends the same picture again is told how much of it is here, and goes on
//! behind that; another picture begins anew. One stream at a time may send: the newest, by its ticket, for one that has
//! broken may not know it yet. What was received does not outlive the process.

use std::sync::Arc;
use std::time::Duration;

use keelson_wire::raft as wire;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tonic::Status;

use super::machine::Machine;
use super::off_thread;
use super::peer_door::stopped;
use crate::disk::{Batch, NextState};

/// What came of a snapshot is given up when nobody has gone on with it for so long.
const KEPT: Duration = Duration::from_secs(120);

/// Cheap to clone: all clones are one.
#[derive(Clone)]
pub struct SnapshotReceiver {
    machine: Arc<Machine>,
    incoming: Arc<Mutex<Incoming>>,
}

#[derive(Default)]
struct Incoming {
    /// The newest ticket that was given out; 0 is none.
    ticket: u64,
    parts: Option<Parts>,
}

struct Parts {
    /// Whose, and which of theirs.
    snapshot: (wire::Vote, u64),
    next: NextState,
    checksum: crc32fast::Hasher,
    records: u64,
}

impl SnapshotReceiver {
    pub fn new(machine: Arc<Machine>) -> Self {
        Self { machine, incoming: Arc::default() }
    }

    /// Takes the right to send from whoever has it, and tells how many records of this snapshot are here.
    pub async fn begin(&self, sender: wire::Vote, picture: u64) -> Result<wire::BeginSnapshotResponse, Status> {
        let snapshot = (sender, picture);
        let mut incoming = self.incoming.lock().await;
        incoming.ticket += 1;
        incoming.parts.take_if(|parts| parts.snapshot != snapshot);
        let records = match &incoming.parts {
            Some(parts) => {
                tracing::info!(records = parts.records, "a snapshot goes on where it was broken off");
                parts.records
            }
            None => {
                let next = self.machine.begin_state().map_err(stopped)?;
                incoming.parts = Some(Parts { snapshot, next, checksum: crc32fast::Hasher::new(), records: 0 });
                0
            }
        };
        self.watch_over(incoming.ticket);
        Ok(wire::BeginSnapshotResponse { ticket: incoming.ticket, records })
    }

    /// Takes up the records of one chunk. With the last one, gives the whole.
    pub async fn take(&self, ticket: u64, chunk: wire::SnapshotChunk) -> Result<Option<NextState>, Status> {
        let incoming = self.incoming.clone().lock_owned().await;
        // To its end, though the connection may break meanwhile and nobody may wait any more: what is counted is written.
        tokio::spawn(Self::take_up(incoming, ticket, chunk)).await.map_err(stopped)?
    }

    async fn take_up(
        mut incoming: OwnedMutexGuard<Incoming>,
        ticket: u64,
        chunk: wire::SnapshotChunk,
    ) -> Result<Option<NextState>, Status> {
        let is_newest = incoming.ticket == ticket;
        let parts = incoming.parts.as_mut().filter(|_| is_newest);
        let parts = parts.ok_or_else(|| Status::aborted("the snapshot is sent by another stream by now"))?;
        let mut batch = Batch::default();
        for record in chunk.records {
            parts.checksum.update(&record.key);
            parts.checksum.update(&record.value);
            parts.records += 1;
            batch.put(record.key.to_vec(), record.value);
        }
        let storage = parts.next.storage.clone();
        let written = off_thread::run(move || storage.write(batch))
            .await
            .map_err(stopped)
            .and_then(|written| written.map_err(stopped));
        let whole =
            chunk.end.map(|end| (end.checksum, end.records) == (parts.checksum.clone().finalize(), parts.records));
        match (written, whole) {
            (Ok(()), None) => Ok(None),
            (Ok(()), Some(true)) => Ok(incoming.parts.take().map(|parts| parts.next)),
            (written, _) => {
                // What is here now nobody knows.
                incoming.parts = None;
                written?;
                Err(Status::data_loss("the snapshot's checksum does not fit its records"))
            }
        }
    }

    /// Gives the parts up when nothing has come for a while.
    fn watch_over(&self, ticket: u64) {
        let receiver = self.clone();
        tokio::spawn(async move {
            let mut seen = None;
            loop {
                tokio::time::sleep(KEPT).await;
                let mut incoming = receiver.incoming.lock().await;
                let Some(parts) = &incoming.parts else { return };
                if incoming.ticket != ticket {
                    return;
                }
                if seen.replace(parts.records) == Some(parts.records) {
                    incoming.parts = None;
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::MemoryStates;
    use crate::watch::Hub;

    fn chunk(keys: &[&'static str], end: bool) -> wire::SnapshotChunk {
        let record = |key: &&'static str| wire::Record { key: (*key).into(), value: "v".into() };
        let end = end.then(|| {
            let checksum = crc32fast::hash(b"avbvcv");
            wire::SnapshotEnd { checksum, records: 3 }
        });
        wire::SnapshotChunk { records: keys.iter().map(record).collect(), end, ..Default::default() }
    }

    #[tokio::test]
    async fn one_stream_sends_at_a_time_and_the_next_goes_on_behind_it() {
        let machine = Machine::open(Box::<MemoryStates>::default(), Arc::<Hub>::default()).expect("a machine");
        let receiver = SnapshotReceiver::new(Arc::new(machine));
        let leader = wire::Vote { term: 1, node: 1, committed: true };
        let begun = |ticket, records| Ok(wire::BeginSnapshotResponse { ticket, records });
        let code = |outcome: Result<Option<NextState>, Status>| outcome.err().map(|refusal| refusal.code());

        assert_eq!(receiver.begin(leader, 1).await.map_err(|_| ()), begun(1, 0));
        assert!(receiver.take(1, chunk(&["a", "b"], false)).await.expect("taken").is_none());
        // Its connection broke, and it does not know yet.
        assert_eq!(receiver.begin(leader, 1).await.map_err(|_| ()), begun(2, 2));
        assert_eq!(code(receiver.take(1, chunk(&["x"], false)).await), Some(tonic::Code::Aborted));
        let whole = receiver.take(2, chunk(&["c"], true)).await.expect("taken").expect("the whole");
        assert_eq!(whole.storage.get(b"c").expect("read").as_deref(), Some(&b"v"[..]));
        assert_eq!(whole.storage.get(b"x").expect("read"), None);

        // Another picture, and the same number of another leader, begin anew.
        assert_eq!(receiver.begin(leader, 2).await.map_err(|_| ()), begun(3, 0));
        receiver.take(3, chunk(&["a", "b"], false)).await.expect("taken");
        let other = wire::Vote { term: 2, ..leader };
        assert_eq!(receiver.begin(other, 2).await.map_err(|_| ()), begun(4, 0));
        // Something is missing: nothing of it is kept.
        assert_eq!(code(receiver.take(4, chunk(&["a", "b"], true)).await), Some(tonic::Code::DataLoss));
        assert_eq!(receiver.begin(other, 2).await.map_err(|_| ()), begun(5, 0));
    }
}
