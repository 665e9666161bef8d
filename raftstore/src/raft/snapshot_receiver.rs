//! A snapshot on its way in, which neither a broken connection nor the end of this process ends.
//!
//! What has come is kept for a while. Whoever sends the same picture again is told how much of it is here, and goes on
//! behind that; another picture begins anew. One stream at a time may send: the newest, by its ticket, for one that has
//! broken may not know it yet.
//!
//! Each chunk goes into the database in one batch with a receipt of all that has come so far. A crash leaves the database as
//! it was after one of the batches, so its own receipt says how much of the snapshot is in it, and nothing need be synced on
//! the way. That is not believed, though: after a restart all records are read and compared with the receipt, and what does
//! not fit it to the last byte is thrown away.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use keelson_wire::raft as wire;
use prost::Message as _;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tonic::Status;

use super::machine::Machine;
use super::off_thread;
use super::peer_door::stopped;
use crate::disk::{self, Batch, NextState, Storage};
use crate::mvcc::Key;

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
    next: NextState,
    /// Of what is in the database.
    receipt: wire::SnapshotReceipt,
}

impl Parts {
    /// Nothing of it stays.
    fn give_up(self) {
        self.next.let_go();
    }
}

/// Whose snapshot it is, and which of theirs.
fn snapshot_of(receipt: &wire::SnapshotReceipt) -> (Option<wire::Vote>, u64) {
    (receipt.vote, receipt.picture)
}

/// One record's part of a receipt's digest.
fn digest(key: &[u8], value: &[u8]) -> u64 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(key);
    checksum.update(value);
    checksum.finalize().into()
}

/// The receipt in a database, if the records are those that it speaks of.
fn proven_receipt(storage: &dyn Storage) -> disk::Result<Option<wire::SnapshotReceipt>> {
    let key = Key::Receipt.encode();
    let Some(receipt) = storage.get(&key)? else { return Ok(None) };
    let receipt = wire::SnapshotReceipt::decode(receipt)?;
    let (mut records, mut sum) = (0, 0_u64);
    for record in storage.scan(Bound::Unbounded, Bound::Unbounded) {
        let (found, value) = record?;
        if *found != *key {
            records += 1;
            sum = sum.wrapping_add(digest(&found, &value));
        }
    }
    Ok(((records, sum) == (receipt.records, receipt.digest)).then_some(receipt))
}

impl SnapshotReceiver {
    /// Takes up what an earlier process has received; who comes meanwhile waits for that.
    pub fn new(machine: Arc<Machine>) -> Self {
        let receiver = Self { machine, incoming: Arc::default() };
        if let Ok(incoming) = receiver.incoming.clone().try_lock_owned() {
            tokio::spawn(receiver.clone().take_up_kept(incoming));
        }
        receiver
    }

    async fn take_up_kept(self, mut incoming: OwnedMutexGuard<Incoming>) {
        let machine = self.machine.clone();
        let proven = off_thread::run(move || {
            let Some(next) = machine.take_kept_state()? else { return Ok(None) };
            let Some(receipt) = proven_receipt(next.storage.as_ref())? else {
                tracing::warn!("a part of a snapshot is thrown away: it is not what was received");
                return Ok(None);
            };
            machine.keep_state(&next)?;
            Ok::<_, disk::Error>(Some(Parts { next, receipt }))
        });
        match proven.await {
            Ok(Ok(None)) => return,
            Ok(Ok(parts)) => incoming.parts = parts,
            Ok(Err(error)) => tracing::warn!(%error, "a part of a snapshot is thrown away"),
            Err(error) => tracing::warn!(%error, "a part of a snapshot is thrown away"),
        }
        self.watch_over(incoming.ticket);
    }

    /// Takes the right to send from whoever has it, and tells how many records of this snapshot are here.
    pub async fn begin(&self, sender: wire::Vote, picture: u64) -> Result<wire::BeginSnapshotResponse, Status> {
        let mut incoming = self.incoming.lock().await;
        incoming.ticket += 1;
        let another = incoming.parts.take_if(|parts| snapshot_of(&parts.receipt) != (Some(sender), picture));
        if let Some(another) = another {
            another.give_up();
        }
        let records = match &incoming.parts {
            Some(parts) => {
                tracing::info!(records = parts.receipt.records, "a snapshot goes on where it was broken off");
                parts.receipt.records
            }
            None => {
                let next = self.machine.begin_state().map_err(stopped)?;
                self.machine.keep_state(&next).map_err(stopped)?;
                let receipt = wire::SnapshotReceipt { vote: Some(sender), picture, ..Default::default() };
                incoming.parts = Some(Parts { next, receipt });
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
        let receipt = &mut parts.receipt;
        let mut checksum = crc32fast::Hasher::new_with_initial(receipt.checksum);
        for record in chunk.records {
            checksum.update(&record.key);
            checksum.update(&record.value);
            receipt.digest = receipt.digest.wrapping_add(digest(&record.key, &record.value));
            receipt.records += 1;
            batch.put(record.key.to_vec(), record.value);
        }
        receipt.checksum = checksum.finalize();
        let whole = chunk.end.map(|end| (end.checksum, end.records) == (receipt.checksum, receipt.records));
        match whole {
            // A state like any other.
            Some(true) => batch.remove(Key::Receipt.encode()),
            _ => batch.put(Key::Receipt.encode(), receipt.encode_to_vec()),
        }
        let storage = parts.next.storage.clone();
        let written = off_thread::run(move || storage.write(batch))
            .await
            .map_err(stopped)
            .and_then(|written| written.map_err(stopped));
        if let (Ok(()), None) = (&written, whole) {
            return Ok(None);
        }
        let Some(parts) = incoming.parts.take() else { return Ok(None) };
        parts.next.let_go();
        match (written, whole) {
            (Ok(()), Some(true)) => Ok(Some(parts.next)),
            // What is here now nobody knows.
            (Err(failure), _) => Err(failure),
            (Ok(()), _) => Err(Status::data_loss("the snapshot's checksum does not fit its records")),
        }
    }

    /// Gives the parts up when nothing has come for a while.
    fn watch_over(&self, ticket: u64) {
        let incoming = Arc::downgrade(&self.incoming);
        tokio::spawn(async move {
            let mut seen = None;
            loop {
                tokio::time::sleep(KEPT).await;
                let Some(incoming) = incoming.upgrade() else { return };
                let mut incoming = incoming.lock().await;
                let Some(parts) = &incoming.parts else { return };
                if incoming.ticket != ticket {
                    return;
                }
                let records = parts.receipt.records;
                if seen.replace(records) == Some(records) {
                    if let Some(parts) = incoming.parts.take() {
                        parts.give_up();
                    }
                    return;
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::memory::MemoryStates;
    use crate::disk::{DataDirectory, Identity, StateDirectory};
    use crate::journal::power::seeded;
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

    const LEADER: wire::Vote = wire::Vote { term: 1, node: 1, committed: true };

    fn directory(root: &Path) -> DataDirectory {
        let identity = Identity { cluster_id: 7, member_id: 2, name: "m2".to_owned() };
        DataDirectory::open(root, &identity).expect("a directory")
    }

    /// A member's life on this directory.
    fn life(root: &Path) -> SnapshotReceiver {
        let states = Box::new(StateDirectory::new(directory(root), 1 << 20));
        SnapshotReceiver::new(Arc::new(Machine::open(states, Arc::<Hub>::default()).expect("a machine")))
    }

    async fn received(receiver: &SnapshotReceiver, sender: wire::Vote, picture: u64) -> u64 {
        receiver.begin(sender, picture).await.expect("begun").records
    }

    /// How many states are on the disk: the one in use, and those that were begun.
    fn states(root: &Path) -> usize {
        let names = std::fs::read_dir(root).expect("a directory").map(|entry| entry.expect("an entry").file_name());
        names.filter(|name| name.to_string_lossy().starts_with("state-")).count()
    }

    #[tokio::test]
    async fn what_was_received_outlives_the_process() {
        let root = tempfile::tempdir().expect("a directory");
        let receiver = life(root.path());
        assert_eq!(received(&receiver, LEADER, 4).await, 0);
        receiver.take(1, chunk(&["a", "b"], false)).await.expect("taken");
        drop(receiver);

        let receiver = life(root.path());
        assert_eq!(received(&receiver, LEADER, 4).await, 2);
        let whole = receiver.take(1, chunk(&["c"], true)).await.expect("taken").expect("the whole");
        for key in [b"a", b"b", b"c"] {
            assert_eq!(whole.storage.get(key).expect("read").as_deref(), Some(&b"v"[..]));
        }
        assert_eq!(whole.storage.get(&Key::Receipt.encode()).expect("read"), None, "it is a state like any other");
        // Nobody installs it.
        drop((whole, receiver));
        assert_eq!(states(root.path()), 1);
    }

    #[tokio::test]
    async fn another_snapshot_begins_anew_after_a_restart_too() {
        let root = tempfile::tempdir().expect("a directory");
        for (sender, picture) in [(LEADER, 5), (wire::Vote { term: 2, ..LEADER }, 4)] {
            let receiver = life(root.path());
            received(&receiver, LEADER, 4).await;
            receiver.take(1, chunk(&["a", "b"], false)).await.expect("taken");
            drop(receiver);
            let receiver = life(root.path());
            assert_eq!(received(&receiver, sender, picture).await, 0);
            assert_eq!(states(root.path()), 2, "of the other one nothing is left");
        }
    }

    #[tokio::test]
    async fn what_is_not_what_was_received_is_thrown_away() {
        type Damage = fn(&mut Batch);
        let damages: [(Damage, u64); 5] = [
            (|_| {}, 2),
            (|batch| batch.remove(*b"a"), 0),
            (|batch| batch.put(*b"a", &b"w"[..]), 0),
            (|batch| batch.put(*b"x", &b"v"[..]), 0),
            (|batch| batch.remove(Key::Receipt.encode()), 0),
        ];
        for (number, (damage, kept)) in damages.into_iter().enumerate() {
            let root = tempfile::tempdir().expect("a directory");
            let receiver = life(root.path());
            received(&receiver, LEADER, 1).await;
            receiver.take(1, chunk(&["a", "b"], false)).await.expect("taken");
            drop(receiver);
            let mut directory = directory(root.path());
            let (place, state) = directory.take_kept_state(1 << 20).expect("read").expect("it was kept");
            let mut batch = Batch::default();
            damage(&mut batch);
            state.write(batch).expect("written");
            directory.keep_state(place).expect("kept");
            drop((state, directory));

            let receiver = life(root.path());
            assert_eq!(received(&receiver, LEADER, 1).await, kept, "damage {number}");
            assert_eq!(states(root.path()), 2, "damage {number}");
            let rest = &["a", "b", "c"][kept as usize..];
            let whole = receiver.take(1, chunk(rest, true)).await.expect("taken").expect("the whole");
            assert_eq!(whole.storage.get(b"x").expect("read"), None);
        }
    }

    /// Files that are no database at all.
    #[tokio::test]
    async fn what_cannot_be_opened_is_thrown_away() {
        let root = tempfile::tempdir().expect("a directory");
        drop(directory(root.path()));
        std::fs::create_dir(root.path().join("state-2")).expect("made");
        std::fs::write(root.path().join("state-2/conf"), "segments: none").expect("written");
        std::fs::write(root.path().join("state-2/db"), [7; 5_000]).expect("written");
        directory(root.path()).keep_state(2).expect("kept");
        let receiver = life(root.path());
        assert_eq!(received(&receiver, LEADER, 1).await, 0);
        assert_eq!(states(root.path()), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_goes_on_with_is_given_up() {
        let root = tempfile::tempdir().expect("a directory");
        let receiver = life(root.path());
        received(&receiver, LEADER, 1).await;
        receiver.take(1, chunk(&["a", "b"], false)).await.expect("taken");
        drop(receiver);
        let receiver = life(root.path());
        tokio::task::yield_now().await;
        assert_eq!(states(root.path()), 2);
        tokio::time::sleep(3 * KEPT).await;
        assert_eq!(states(root.path()), 1);
        assert_eq!(received(&receiver, LEADER, 1).await, 0);
    }

    /// A database that was not synced is, after a crash, what it was after some batch.
    #[tokio::test]
    async fn a_crash_loses_the_last_chunks_and_their_receipt_together() {
        let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let checksum = crc32fast::hash(b"avbvcvdvevfvgvhv");
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let mut random = seeded(seed);
            let states = MemoryStates::default();
            let life = || {
                let machine = Machine::open(Box::new(states.clone()), Arc::<Hub>::default()).expect("a machine");
                SnapshotReceiver::new(Arc::new(machine))
            };
            let receiver = life();
            received(&receiver, LEADER, 1).await;
            for pair in keys[..6].chunks(2) {
                receiver.take(1, chunk(pair, false)).await.expect("taken");
            }
            drop(receiver);
            states.crash(&mut random);
            let receiver = life();
            let there = received(&receiver, LEADER, 1).await as usize;
            seen.insert(there);
            let mut rest = chunk(&keys[there..], false);
            rest.end = Some(wire::SnapshotEnd { checksum, records: 8 });
            let whole = receiver.take(1, rest).await.expect("taken").expect("the whole");
            assert_eq!(whole.storage.scan(Bound::Unbounded, Bound::Unbounded).count(), 8);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 2, 4, 6]);
    }
}
