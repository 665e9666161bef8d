//! Where the log's entries lie on the disk. Pure but for the files that it holds open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use keelson_wire::raft::JournalFrame;

use super::files::File;

pub struct Segment {
    pub name: String,
    pub file: Arc<dyn File>,
    pub salt: u32,
    /// Bytes that are reserved for it.
    pub size: u64,
}

/// The frame in which a run of entries lies.
#[derive(Clone)]
pub struct Place {
    pub segment: Arc<Segment>,
    pub offset: u64,
    /// Bytes of the whole frame.
    pub size: usize,
    /// Entries of the run that are still part of the log.
    pub count: u64,
}

#[derive(Default)]
pub struct Index {
    /// By the index of their first entry.
    runs: BTreeMap<u64, Place>,
    /// Oldest first; the last one is being written.
    pub segments: VecDeque<Arc<Segment>>,
}

impl Index {
    /// Takes in what a frame says; it lies at `offset` of the newest segment.
    pub fn take(&mut self, frame: &JournalFrame, segment: &Arc<Segment>, offset: u64, size: usize) {
        if let Some(from) = frame.truncate_from {
            self.runs.split_off(&from);
            if let Some((first, place)) = self.runs.iter_mut().next_back() {
                place.count = place.count.min(from - first);
            }
        }
        for run in frame.runs.iter().filter(|run| run.count > 0) {
            let place = Place { segment: segment.clone(), offset, size, count: run.count };
            self.runs.insert(run.first, place);
        }
        if let Some(purged) = &frame.purged {
            while let Some(oldest) = self.runs.first_entry()
                && oldest.key() + oldest.get().count <= purged.index.saturating_add(1)
            {
                oldest.remove();
            }
        }
    }

    /// The index of the log's last entry on the disk, and its run.
    pub fn last(&self) -> Option<(u64, u64, Place)> {
        let (first, place) = self.runs.iter().next_back()?;
        Some((first + place.count - 1, *first, place.clone()))
    }

    /// The run with this entry or, where a gap begins there, the next one.
    pub fn at(&self, index: u64) -> Option<(u64, Place)> {
        let around = self.runs.range(..=index).next_back().filter(|(first, place)| index < **first + place.count);
        let found = around.or_else(|| self.runs.range(index..).next());
        found.map(|(first, place)| (*first, place.clone()))
    }

    /// Takes out the oldest segment if it holds nothing of the log any more.
    pub fn take_unused(&mut self) -> Option<Arc<Segment>> {
        let oldest = self.segments.front()?;
        let needed = self.runs.first_key_value().map(|(_, place)| &place.segment).or(self.segments.back())?;
        if Arc::ptr_eq(oldest, needed) { None } else { self.segments.pop_front() }
    }
}
