//! The log's one writer: a thread that makes whatever is queued durable together.
//!
//! Everything that waits is one batch, one flush and one `fdatasync`; then all of it is acknowledged. While the disk is
//! busy the next batch gathers, so the batches grow with the load and a lone write waits for nobody.
//!
//! Entries lie in records of many entries: `e <index of the first: 8>` -> length-delimited entries. Records are contiguous.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

use keelson_wire::raft as wire;
use openraft::storage::IOFlushed;
use prometheus_client::metrics::counter::Counter;
use prost::Message as _;
use tokio::sync::oneshot;

use super::types::TypeConfig;
use crate::disk::{self, Batch, Storage, free_space};

/// More than this in one batch would only make the first of it wait.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// Old records that go with one batch: a purge never holds up the writes.
const PURGE_STEP: usize = 16;

pub const VOTE: &[u8] = b"v";
pub const PURGED: &[u8] = b"p";
pub const COMMITTED: &[u8] = b"c";

pub fn entry_key(index: u64) -> [u8; 9] {
    let mut key = [b'e'; 9];
    key[1..].copy_from_slice(&index.to_be_bytes());
    key
}

pub fn index_of(key: &[u8]) -> Option<u64> {
    let (b'e', index) = key.split_first()? else { return None };
    Some(u64::from_be_bytes(index.try_into().ok()?))
}

/// Some consecutive entries, encoded.
pub struct Record {
    pub first: u64,
    pub count: u64,
    pub entries: Vec<u8>,
}

type Done = oneshot::Sender<std::io::Result<()>>;

pub enum Job {
    Append {
        records: Vec<Record>,
        flushed: IOFlushed<TypeConfig>,
    },
    Vote {
        vote: wire::Vote,
        done: Done,
    },
    /// Everything from this index on goes.
    Truncate {
        from: u64,
        done: Done,
    },
    /// Everything up to this one goes, little by little.
    Purge {
        upto: wire::LogId,
        done: Done,
    },
    /// Needs no acknowledgement: it goes with the next batch.
    Committed(wire::LogId),
}

/// What the writer tells others while it works.
#[derive(Default)]
pub struct Progress {
    /// The highest index that readers find on the disk.
    pub written: AtomicU64,
    /// Little space is left on the disk: what takes more of it shall be refused.
    pub low_space: AtomicBool,
    pub syncs: Counter,
    pub entries: Counter,
}

pub struct LogWriter {
    jobs: mpsc::Sender<Job>,
}

struct Thread {
    storage: Arc<dyn Storage>,
    progress: Arc<Progress>,
    directory: std::path::PathBuf,
    reserve: u64,
    purge_upto: Option<u64>,
    /// After a failed sync nothing can be known of what the kernel still holds: no later write may pretend.
    failed: Option<String>,
}

/// One batch on its way to the disk, and who waits for it.
#[derive(Default)]
struct Group {
    batch: Batch,
    bytes: usize,
    open: Option<Record>,
    flushed: Vec<IOFlushed<TypeConfig>>,
    done: Vec<Done>,
    written: u64,
    entries: u64,
}

impl LogWriter {
    /// `reserve`: bytes of free disk space below which [`Progress::low_space`] is raised.
    pub fn start(
        storage: Arc<dyn Storage>,
        progress: Arc<Progress>,
        directory: std::path::PathBuf,
        reserve: u64,
        purge_upto: Option<u64>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let mut thread = Thread { storage, progress, directory, reserve, purge_upto, failed: None };
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || thread.run(&queue))?;
        Ok(Self { jobs })
    }

    pub fn send(&self, job: Job) -> std::io::Result<()> {
        self.jobs.send(job).map_err(|_| std::io::Error::other("the log's writer has ended"))
    }
}

impl Thread {
    fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        self.look_at_space();
        let mut waiting = None;
        loop {
            let first = match waiting.take() {
                Some(job) => job,
                None => match self.next(queue) {
                    Some(job) => job,
                    None => return,
                },
            };
            let mut group = Group::default();
            waiting = self.gather(&mut group, first, queue);
            self.commit(group);
        }
    }

    /// The next job. While there is nothing else to do, old records are removed.
    fn next(&mut self, queue: &mpsc::Receiver<Job>) -> Option<Job> {
        loop {
            if self.purge_upto.is_none() {
                return queue.recv().ok();
            }
            match queue.try_recv() {
                Ok(job) => return Some(job),
                Err(mpsc::TryRecvError::Disconnected) => return None,
                Err(mpsc::TryRecvError::Empty) => {
                    let mut batch = Batch::default();
                    let purged = self.purge_step(&mut batch).and_then(|()| self.storage.write(batch));
                    if let Err(error) = purged {
                        tracing::error!(%error, "cannot purge the log");
                        self.purge_upto = None;
                    }
                }
            }
        }
    }

    /// Takes up what is queued. A job that needs the disk as it will be after this batch is handed back.
    fn gather(&mut self, group: &mut Group, first: Job, queue: &mpsc::Receiver<Job>) -> Option<Job> {
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Append { records, flushed } => {
                    for record in records {
                        group.append(record);
                    }
                    group.flushed.push(flushed);
                }
                Job::Vote { vote, done } => {
                    group.batch.put(VOTE, vote.encode_to_vec());
                    group.done.push(done);
                }
                Job::Committed(id) => group.batch.put(COMMITTED, id.encode_to_vec()),
                Job::Purge { upto, done } => {
                    group.batch.put(PURGED, upto.encode_to_vec());
                    self.purge_upto = Some(upto.index);
                    let _ = done.send(Ok(()));
                }
                Job::Truncate { from, done } => {
                    if !group.is_empty() {
                        return Some(Job::Truncate { from, done });
                    }
                    if let Err(error) = self.truncate(&mut group.batch, from) {
                        let _ = done.send(Err(error.into()));
                    } else {
                        group.done.push(done);
                    }
                    return None;
                }
            }
            if group.bytes >= MAX_BATCH_BYTES {
                return None;
            }
            next = queue.try_recv().ok();
        }
        None
    }

    fn commit(&mut self, mut group: Group) {
        group.close_record();
        let outcome = match &self.failed {
            Some(cause) => Err(cause.clone()),
            None => self.write(&mut group).map_err(|error| error.to_string()),
        };
        match &outcome {
            Ok(()) => {
                if group.written > 0 {
                    self.progress.written.store(group.written, Ordering::Release);
                }
                self.progress.entries.inc_by(group.entries);
            }
            Err(cause) => {
                tracing::error!(cause, "the log cannot be written");
                self.failed = Some(cause.clone());
            }
        }
        let answer = || outcome.clone().map_err(std::io::Error::other);
        for flushed in group.flushed {
            flushed.io_completed(answer());
        }
        for done in group.done {
            // Whoever asked may have gone.
            let _ = done.send(answer());
        }
        self.look_at_space();
    }

    fn write(&mut self, group: &mut Group) -> disk::Result<()> {
        self.purge_step(&mut group.batch)?;
        let somebody_waits = !group.flushed.is_empty() || !group.done.is_empty();
        self.storage.write(std::mem::take(&mut group.batch))?;
        if somebody_waits {
            self.storage.sync()?;
            self.progress.syncs.inc();
        }
        Ok(())
    }

    fn look_at_space(&self) {
        let low = match free_space(&self.directory) {
            Ok(free) => free < self.reserve,
            Err(error) => {
                tracing::warn!(%error, "cannot tell the free space of the disk");
                false
            }
        };
        if self.progress.low_space.swap(low, Ordering::AcqRel) != low {
            tracing::warn!(low, reserve = self.reserve, directory = %self.directory.display(), "disk space");
        }
    }

    fn truncate(&self, batch: &mut Batch, from: u64) -> disk::Result<()> {
        // The record in which the last entry to keep lies may have some that go.
        if let Some(last_kept) = from.checked_sub(1)
            && let Some((key, value)) = self.storage.last_up_to(&entry_key(last_kept))?
            && let Some(first) = index_of(&key)
        {
            batch.put(entry_key(first), first_entries(value, from - first)?);
        }
        let (start, end) = (entry_key(from), entry_key(u64::MAX));
        for record in self.storage.scan(Bound::Included(&start), Bound::Included(&end)) {
            batch.remove(record?.0.to_vec());
        }
        Ok(())
    }

    /// Adds the removal of a few records that lie wholly before the purge's end.
    fn purge_step(&mut self, batch: &mut Batch) -> disk::Result<()> {
        let Some(upto) = self.purge_upto else { return Ok(()) };
        let (start, end) = (entry_key(0), entry_key(upto));
        let mut records = self.storage.scan(Bound::Included(&start), Bound::Included(&end));
        let mut previous: Option<bytes::Bytes> = None;
        for _ in 0..=PURGE_STEP {
            let Some(record) = records.next() else {
                // The last of them may hold entries that stay.
                self.purge_upto = None;
                return Ok(());
            };
            // That another record begins at or before the end shows that the one before it is not needed.
            if let Some(previous) = previous.replace(record?.0) {
                batch.remove(previous.to_vec());
            }
        }
        Ok(())
    }
}

/// The first `count` of the entries of a record.
fn first_entries(mut entries: bytes::Bytes, count: u64) -> disk::Result<Vec<u8>> {
    let whole = entries.clone();
    for _ in 0..count {
        if entries.is_empty() {
            break;
        }
        let length = prost::decode_length_delimiter(&mut entries)?;
        entries = entries.slice(length.min(entries.len())..);
    }
    Ok(whole[..whole.len() - entries.len()].to_vec())
}

impl Group {
    fn is_empty(&self) -> bool {
        self.flushed.is_empty() && self.done.is_empty() && self.batch.is_empty()
    }

    /// Appends that follow each other share a record, as long as it stays small.
    fn append(&mut self, record: Record) {
        self.bytes += record.entries.len();
        self.entries += record.count;
        self.written = record.first + record.count - 1;
        if let Some(open) = &mut self.open
            && open.first + open.count == record.first
            && open.entries.len() + record.entries.len() <= super::log::RECORD_BYTES
        {
            open.entries.extend_from_slice(&record.entries);
            open.count += record.count;
            return;
        }
        self.close_record();
        self.open = Some(record);
    }

    fn close_record(&mut self) {
        if let Some(open) = self.open.take() {
            self.batch.put(entry_key(open.first), open.entries);
        }
    }
}
