//! The Raft log's files: written in sequence, one write and one barrier for all that waits together.
//!
//! - A **frame** is one write: entries, the vote, a truncation, what is committed and purged. It is synced before the next
//!   one is written, so a power cut can tear only the last frame, and that one nobody was told of.
//! - **Segments** are files of reserved space, named by the sequence number of their first frame, which repeats the vote
//!   and the positions: so the oldest segments can go without a rewrite, one with each frame and more when no
//!   write waits. One that has gone is kept to be used again.
//! - **Recovery** takes up every frame in sequence. Where they end nothing may follow: a whole frame behind a broken
//!   one shows that acknowledged data is damaged, and the member refuses to start.
//!
//! Why not sled, which holds the replicated state: its `flush` wakes a pool of threads for every batch and writes what
//! it holds as pages, which cost a lone write of 250 bytes three times what its `fdatasync` costs.

mod files;
mod frame;
mod index;
#[cfg(test)]
pub(crate) mod power;
mod recovery;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keelson_wire::raft as wire;
use keelson_wire::raft::JournalFrame;
use parking_lot::RwLock;
use prost::Message as _;

pub use files::{Directory, File, Files};

use crate::disk::{Error, Result};
use crate::failpoints::{Point, reached};
use frame::{FRAME_HEADER, SEGMENT_HEADER, SegmentHeader};
use index::{Index, Segment};

/// Reserved for a segment; a larger frame gets a larger one.
const SEGMENT_BYTES: u64 = 8 << 20;
const SPARE: &str = "spare";
const SUFFIX: &str = ".journal";
/// Larger buffers are given back after the write that needed them.
const KEPT_BUFFER: usize = 1 << 20;

/// What the log is, apart from its entries.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct Head {
    pub vote: Option<wire::Vote>,
    pub committed: Option<wire::LogId>,
    pub purged: Option<wire::LogId>,
}

impl Head {
    fn take(&mut self, frame: &JournalFrame) {
        self.vote = frame.vote.or(self.vote);
        self.committed = frame.committed.or(self.committed);
        self.purged = frame.purged.or(self.purged);
    }
}

/// The journal's one writer.
pub struct Journal {
    path: PathBuf,
    files: Box<dyn Files>,
    segment_bytes: u64,
    index: Arc<RwLock<Index>>,
    head: Head,
    /// The newest segment, and where its next frame goes.
    active: Option<(Arc<Segment>, u64)>,
    next_sequence: u64,
    has_spare: bool,
    buffer: Vec<u8>,
}

/// Reads entries while the writer goes on. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    path: PathBuf,
    index: Arc<RwLock<Index>>,
}

impl Journal {
    /// Opens the journal in a directory of the disk, which is made if there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let directory =
            Directory::open(path).map_err(|source| Error::File { what: "open", path: path.to_owned(), source })?;
        Self::recover(path, Box::new(directory), SEGMENT_BYTES)
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    pub fn reader(&self) -> Reader {
        Reader { path: self.path.clone(), index: self.index.clone() }
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(std::io::Error) -> Error + use<> {
        let path = self.path.clone();
        move |source| Error::File { what, path, source }
    }

    /// Writes a frame and returns when it is on the disk. After an error nothing is known of the disk any more.
    pub fn write(&mut self, mut frame: JournalFrame) -> Result<()> {
        self.head.take(&frame);
        let payload = frame.encoded_len();
        if payload > frame::MAX_PAYLOAD {
            return Err(self.failed("write")(std::io::Error::other("a frame that is too large")));
        }
        let size = frame::frame_size(payload) as u64;
        let fits = self.active.as_ref().is_some_and(|(segment, offset)| offset + size <= segment.size);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let (segment, offset) = match (self.active.take(), fits) {
            (Some(active), true) => active,
            (last, _) => {
                let Head { vote, committed, purged } = self.head.clone();
                frame = JournalFrame { vote, committed, purged, ..frame };
                let size = SEGMENT_HEADER + frame::frame_size(frame.encoded_len());
                drop(last);
                let segment = self.begin_segment(size as u64)?;
                let header = SegmentHeader { salt: segment.salt, first_sequence: self.next_sequence };
                buffer.extend_from_slice(&header.encode());
                (segment, 0)
            }
        };
        let start = buffer.len();
        buffer.resize(start + FRAME_HEADER, 0);
        frame.encode(&mut buffer).map_err(|error| self.failed("write")(std::io::Error::other(error)))?;
        frame::close(&mut buffer, start, segment.salt, self.next_sequence);
        segment.file.write_at(&buffer, offset).map_err(self.failed("write"))?;
        reached(Point::BeforeSync);
        segment.file.sync().map_err(self.failed("sync"))?;
        reached(Point::AfterSync);
        self.index.write().take(&frame, &segment, offset + start as u64, buffer.len() - start);
        self.active = Some((segment, offset + buffer.len() as u64));
        self.next_sequence += 1;
        if buffer.capacity() <= KEPT_BUFFER {
            self.buffer = buffer;
        }
        // As fast as files are made, at least.
        self.reclaim_step().map(drop)
    }

    /// A new file, or the spare one, under the name of the next frame.
    fn begin_segment(&mut self, needed: u64) -> Result<Arc<Segment>> {
        let name = segment_name(self.next_sequence);
        let size = needed.max(self.segment_bytes);
        let file = if self.has_spare && size == self.segment_bytes {
            self.files.rename(SPARE, &name).map_err(self.failed("rename the spare file of"))?;
            self.has_spare = false;
            self.files.open(&name).map_err(self.failed("open the spare file of"))?
        } else {
            self.files.create(&name, size).map_err(self.failed("make a file in"))?
        };
        // Its name first: what is written into a spare file must not show up under the name that it had before.
        self.files.sync_directory().map_err(self.failed("sync"))?;
        let size = file.length().map_err(self.failed("read"))?;
        let segment = Arc::new(Segment { name, file, salt: self.files.salt(), size });
        self.index.write().segments.push_back(segment.clone());
        Ok(segment)
    }

    /// Gives back one of the files that the log no longer needs; false when there is none. One at a time: to take a file away
    /// costs a disk as much as a write, a purge may leave hundreds, and no write shall wait for more than one of them.
    pub fn reclaim_step(&mut self) -> Result<bool> {
        let Some(segment) = self.index.write().take_unused() else { return Ok(false) };
        // Whoever still reads it shall not see it change.
        let is_spare = !self.has_spare && segment.size == self.segment_bytes && Arc::strong_count(&segment) == 1;
        if is_spare {
            self.files.rename(&segment.name, SPARE).map_err(self.failed("rename a file of"))?;
            self.has_spare = true;
        } else {
            self.files.remove(&segment.name).map_err(self.failed("remove a file of"))?;
        }
        Ok(true)
    }
}

fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}{SUFFIX}")
}

impl Reader {
    /// The entries of [start, end) that are on the disk without a gap, but no more than about `limit` bytes of them.
    pub fn read(&self, start: u64, end: u64, limit: usize) -> Result<Vec<wire::Entry>> {
        let mut found = Vec::new();
        let (mut next, mut bytes) = (start, 0);
        while next < end && bytes < limit {
            let Some((first, place)) = self.index.read().at(next) else { break };
            if first > next {
                break;
            }
            let last = first + place.count;
            let run = self.run(first, &place)?;
            for (index, entry) in (first..last).zip(run).skip((next - first) as usize) {
                if index >= end || bytes >= limit {
                    break;
                }
                bytes += entry.encoded_len();
                found.push(entry);
            }
            next = start + found.len() as u64;
            if next < last {
                break;
            }
        }
        Ok(found)
    }

    /// The log's last entry.
    pub fn last(&self) -> Result<Option<wire::Entry>> {
        let Some((index, first, place)) = self.index.read().last() else { return Ok(None) };
        let run = self.run(first, &place)?;
        let entry = run.into_iter().nth((index - first) as usize);
        entry.map(Some).ok_or(self.damaged("a run of entries is shorter than it says"))
    }

    fn run(&self, first: u64, place: &index::Place) -> Result<Vec<wire::Entry>> {
        let mut bytes = vec![0; place.size];
        let read = place.segment.file.read_at(&mut bytes, place.offset);
        read.map_err(|source| Error::File { what: "read", path: self.path.clone(), source })?;
        let found = frame::parse(&bytes, place.segment.salt).ok_or(self.damaged("a frame fails its checksum"))?;
        let payload = bytes::Bytes::from(bytes).slice(FRAME_HEADER..FRAME_HEADER + found.length);
        let frame = JournalFrame::decode(payload)?;
        let run = frame.runs.into_iter().find(|run| run.first == first);
        let mut encoded = run.ok_or(self.damaged("a frame lacks its entries"))?.entries;
        let mut entries = Vec::new();
        while !encoded.is_empty() {
            entries.push(wire::Entry::decode_length_delimited(&mut encoded)?);
        }
        Ok(entries)
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { path: self.path.clone(), what }
    }
}
