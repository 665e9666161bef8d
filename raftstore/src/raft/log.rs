//! The Raft log: the newest entries in memory, all of them on the disk.
//!
//! Appending puts the entries into memory and hands them to the writer's thread, which acknowledges them when they are
//! durable. Readers take from memory what is there and the rest from the journal.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::{Stream, StreamExt as _, stream};
use openraft::entry::RaftEntry as _;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::oneshot;

use super::codec;
use super::log_writer::{Job, LogWriter, Progress, RUN_BYTES, Run};
use super::types::{Entry, LogId, Payload, TypeConfig, Vote};
use crate::disk;
use crate::failpoints::{Bug, Point, planted, reached};
use crate::journal::{Journal, Reader};

/// Entries that are kept in memory, in bytes of their commands.
const TAIL_BYTES: usize = 4 << 20;
/// A reader takes about this much at a time.
const READ_BYTES: usize = 1 << 20;

#[derive(Clone)]
pub struct Log {
    journal: Reader,
    tail: Arc<Mutex<Tail>>,
    writer: Arc<LogWriter>,
    progress: Arc<Progress>,
}

#[derive(Default)]
struct Tail {
    /// Consecutive, up to `last`.
    entries: VecDeque<Entry>,
    bytes: usize,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

fn weight(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(command) => command.encoded.len() + 128,
        Payload::Blank | Payload::Membership(_) => 256,
    }
}

impl Log {
    pub fn open(journal: Journal, directory: PathBuf, reserve: u64) -> disk::Result<Self> {
        Self::written_by(journal, |journal, progress| LogWriter::start(journal, progress, directory, reserve))
    }

    pub fn written_by(
        journal: Journal,
        start: impl FnOnce(Journal, Arc<Progress>) -> io::Result<LogWriter>,
    ) -> disk::Result<Self> {
        let head = journal.head().clone();
        let purged = head.purged.map(codec::log_id);
        let reader = journal.reader();
        let newest = reader.last()?.and_then(|entry| entry.log_id).map(codec::log_id);
        let last = newest.max(purged);
        let progress = Arc::new(Progress::default());
        progress.written.store(last.map_or(0, |last| last.index), Ordering::Release);
        let writer = start(journal, progress.clone()).map_err(|source| disk::Error::File {
            what: "start the writer of",
            path: "log".into(),
            source,
        })?;
        let vote = head.vote.map(codec::vote);
        let committed = head.committed.map(codec::log_id);
        let tail = Tail { last, purged, vote, committed, ..Tail::default() };
        Ok(Self { journal: reader, tail: Arc::new(Mutex::new(tail)), writer: Arc::new(writer), progress })
    }

    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    pub fn is_empty(&self) -> bool {
        let tail = self.tail.lock();
        tail.last.is_none() && tail.vote.is_none()
    }

    /// The newest vote, which may still be on its way to the disk: nobody has been told of a newer one.
    pub fn vote(&self) -> Option<Vote> {
        self.tail.lock().vote
    }

    /// The last entry that is gone, by its index; 0 if none is.
    pub fn purged(&self) -> u64 {
        self.tail.lock().purged.map_or(0, |purged| purged.index)
    }

    async fn durably(&self, job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let (done, outcome) = oneshot::channel();
        self.writer.send(job(done))?;
        outcome.await.map_err(|_| io::Error::other("the log's writer has ended"))?
    }

    /// The entries of [start, end) that are there, but no more than about `limit` bytes of them.
    fn read(&self, start: u64, end: u64, limit: usize) -> io::Result<Vec<Entry>> {
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut next = start;
        let from_memory = |next: u64, found: &mut Vec<Entry>, bytes: &mut usize| -> bool {
            let tail = self.tail.lock();
            let Some(first) = tail.entries.front().map(|entry| entry.log_id.index) else { return false };
            if next < first {
                return false;
            }
            for entry in tail.entries.iter().skip((next - first) as usize) {
                if entry.log_id.index >= end || *bytes >= limit {
                    break;
                }
                *bytes += weight(entry);
                found.push(entry.clone());
            }
            true
        };
        if from_memory(next, &mut found, &mut bytes) {
            return Ok(found);
        }
        for entry in self.journal.read(start, end, limit)? {
            let entry = codec::entry(entry)?;
            next += 1;
            bytes += weight(&entry);
            found.push(entry);
        }
        if next >= end || bytes >= limit {
            return Ok(found);
        }
        // Behind what is on the disk is what is on its way there.
        from_memory(next, &mut found, &mut bytes);
        Ok(found)
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl RaftLogReader<TypeConfig> for Log {
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let log = self.clone();
        // A bounded part at a time: after a restart the range is all that was not applied.
        stream::unfold(Some(start), move |next| {
            let log = log.clone();
            async move {
                let next = next.filter(|next| *next < end)?;
                match log.read(next, end, READ_BYTES) {
                    Ok(entries) if entries.is_empty() => None,
                    Ok(entries) => {
                        let after = next + entries.len() as u64;
                        Some((stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()), Some(after)))
                    }
                    Err(error) => Some((stream::iter(vec![Err(error)]), None)),
                }
            }
        })
        .flatten()
        .boxed()
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (start, end) = bounds(&range);
        self.read(start, end, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.tail.lock().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES)
    }
}

impl RaftLogStorage<TypeConfig> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let tail = self.tail.lock();
        Ok(LogState { last_purged_log_id: tail.purged, last_log_id: tail.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.tail.lock().vote = Some(*vote);
        let vote = codec::vote_to_wire(vote);
        if planted(Bug::LostVote) {
            return Ok(());
        }
        reached(Point::BeforeVote);
        self.durably(|done| Job::Vote { vote, done }).await?;
        reached(Point::AfterVote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.tail.lock().committed = committed;
        if let Some(committed) = committed {
            *self.progress.committed.lock() = Some(codec::log_id_to_wire(&committed));
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.tail.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        reached(Point::BeforeAppend);
        let mut runs: Vec<Run> = Vec::new();
        {
            let mut tail = self.tail.lock();
            for entry in entries {
                let encoded = codec::entry_to_wire(&entry);
                if runs.last().is_none_or(|run| run.entries.len() + encoded.encoded_len() > RUN_BYTES) {
                    runs.push(Run { first: entry.index(), ..Run::default() });
                }
                if let Some(run) = runs.last_mut() {
                    encoded.encode_length_delimited(&mut run.entries).map_err(io::Error::other)?;
                    run.count += 1;
                }
                tail.push(entry);
            }
            tail.shrink(self.progress.written.load(Ordering::Acquire));
        }
        self.writer.send(Job::Append { runs, flushed: callback })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |last| last.index + 1);
        {
            let mut tail = self.tail.lock();
            while tail.entries.back().is_some_and(|entry| entry.log_id.index >= from) {
                let gone = tail.entries.pop_back();
                tail.bytes -= gone.as_ref().map_or(0, weight);
            }
            tail.last = last.max(tail.purged);
            self.progress.written.fetch_min(from.saturating_sub(1), Ordering::AcqRel);
        }
        self.durably(|done| Job::Truncate { from, done }).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        {
            let mut tail = self.tail.lock();
            tail.purged = tail.purged.max(Some(upto));
            tail.last = tail.last.max(Some(upto));
            while tail.entries.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
                tail.pop_oldest();
            }
        }
        let index = upto.index.cast_signed();
        let upto = codec::log_id_to_wire(&upto);
        reached(Point::BeforePurge);
        self.durably(|done| Job::Purge { upto, done }).await?;
        self.progress.purged.set(index);
        reached(Point::AfterPurge);
        Ok(())
    }
}

impl Tail {
    fn push(&mut self, entry: Entry) {
        self.bytes += weight(&entry);
        self.last = Some(entry.log_id);
        self.entries.push_back(entry);
    }

    /// Only what readers find on the disk may leave the memory.
    fn shrink(&mut self, written: u64) {
        while self.bytes > TAIL_BYTES && self.entries.front().is_some_and(|entry| entry.log_id.index <= written) {
            self.pop_oldest();
        }
    }

    fn pop_oldest(&mut self) {
        if let Some(gone) = self.entries.pop_front() {
            self.bytes -= weight(&gone);
        }
    }
}
