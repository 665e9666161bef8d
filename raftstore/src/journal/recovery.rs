//! Taking the journal up again: which frames count, and what is damage rather than a write that nobody was told of.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use keelson_wire::raft::JournalFrame;
use parking_lot::RwLock;
use prost::Message as _;

use super::files::Files;
use super::frame::{self, ALIGNMENT, FRAME_HEADER, SEGMENT_HEADER, SegmentHeader, SegmentStart};
use super::index::{Index, Segment};
use super::{Head, Journal, SPARE, SUFFIX, segment_name};
use crate::disk::{Error, Result};

impl Journal {
    pub(crate) fn recover(path: &Path, files: Box<dyn Files>, segment_bytes: u64) -> Result<Self> {
        let failed = |what| move |source| Error::File { what, path: path.to_owned(), source };
        let damaged = |what| Error::Damaged { path: path.to_owned(), what };
        let mut names = files.list().map_err(failed("list"))?;
        let has_spare = names.iter().any(|name| name == SPARE);
        names.retain(|name| name.ends_with(SUFFIX));
        names.sort_unstable();

        let mut journal = Self {
            path: path.to_owned(),
            files,
            segment_bytes,
            index: Arc::default(),
            head: Head::default(),
            active: None,
            next_sequence: 0,
            has_spare,
            buffer: Vec::new(),
        };
        let mut index = Index::default();
        let last = names.last().cloned();
        for name in names {
            let is_last = Some(&name) == last.as_ref();
            let expected = first_sequence(&name).ok_or_else(|| damaged("a file has a strange name"))?;
            if !index.segments.is_empty() && expected != journal.next_sequence {
                return Err(damaged("frames are missing between two files"));
            }
            let file = journal.files.open(&name).map_err(failed("open"))?;
            let size = file.length().map_err(failed("read"))?;
            let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
            file.read_at(&mut bytes, 0).map_err(failed("read"))?;
            let header = match SegmentHeader::parse(&bytes) {
                SegmentStart::Header(header) if header.first_sequence == expected => header,
                // The file was named and then the power failed: its first frame was promised to nobody.
                SegmentStart::Unwritten | SegmentStart::Header(_) if is_last => {
                    journal.files.remove(&name).map_err(failed("remove a file of"))?;
                    continue;
                }
                _ => return Err(damaged("a file's header is broken")),
            };
            journal.next_sequence = expected;
            let segment = Arc::new(Segment { name, file, salt: header.salt, size });
            index.segments.push_back(segment.clone());
            let end = journal.take_frames(&mut index, &segment, Bytes::from(bytes), is_last)?;
            if is_last && end == SEGMENT_HEADER as u64 {
                // Its first frame was torn, and no other may stand first: only a first one repeats the head.
                index.segments.pop_back();
                journal.files.remove(&segment.name).map_err(failed("remove a file of"))?;
            } else if is_last {
                // A killed process leaves whole frames that only the kernel holds; they count, so they must stay.
                segment.file.sync().map_err(failed("sync"))?;
                journal.active = Some((segment, end));
            }
        }
        journal.index = Arc::new(RwLock::new(index));
        while journal.reclaim_step()? {}
        Ok(journal)
    }

    /// Takes up the frames of one file; returns where they end.
    fn take_frames(&mut self, index: &mut Index, segment: &Arc<Segment>, bytes: Bytes, is_last: bool) -> Result<u64> {
        let damaged = |what| Err(Error::Damaged { path: self.path.join(&segment.name), what });
        let mut offset = SEGMENT_HEADER;
        while let Some(found) = bytes.get(offset..).and_then(|rest| frame::parse(rest, segment.salt)) {
            if found.sequence != self.next_sequence {
                return damaged("a frame is out of its sequence");
            }
            let payload = bytes.slice(offset + FRAME_HEADER..offset + FRAME_HEADER + found.length);
            let frame = JournalFrame::decode(payload)?;
            self.head.take(&frame);
            index.take(&frame, segment, offset as u64, found.size());
            self.next_sequence += 1;
            offset += found.size();
        }
        if is_last {
            // Only one frame is ever on its way. A whole one behind a broken one was written after that was acknowledged.
            let beyond = (offset + ALIGNMENT..bytes.len()).step_by(ALIGNMENT);
            let later = beyond.filter_map(|at| frame::parse(&bytes[at..], segment.salt));
            if later.into_iter().any(|found| found.sequence > self.next_sequence) {
                return damaged("a frame before the last one is broken");
            }
        }
        Ok(offset as u64)
    }
}

fn first_sequence(name: &str) -> Option<u64> {
    let sequence = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
    (segment_name(sequence) == name).then_some(sequence)
}
