//! The journal against a model, on a disk that loses power.

use std::path::Path;

use keelson_wire::raft::{Entry, JournalFrame, JournalRun, LogId, Vote, entry::Payload};
use prost::Message as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::power::{PowerDirectory, seeded};
use super::{Head, Journal};
use crate::disk::Error;

const SEGMENT: u64 = 64 << 10;

/// What the journal should hold.
#[derive(Clone, Default, Debug, PartialEq)]
struct Model {
    head: Head,
    entries: Vec<Entry>,
}

impl Model {
    fn next(&self) -> u64 {
        let purged = self.head.purged.map_or(0, |id| id.index);
        self.entries.last().and_then(|entry| entry.log_id).map_or(purged, |id| id.index).max(purged) + 1
    }

    fn take(&mut self, frame: &JournalFrame) {
        let index = |entry: &Entry| entry.log_id.map_or(0, |id| id.index);
        self.head.take(frame);
        if let Some(from) = frame.truncate_from {
            self.entries.retain(|entry| index(entry) < from);
        }
        for run in &frame.runs {
            let mut encoded = run.entries.clone();
            while !encoded.is_empty() {
                self.entries.push(Entry::decode_length_delimited(&mut encoded).expect("an entry"));
            }
        }
        if let Some(purged) = frame.purged {
            self.entries.retain(|entry| index(entry) > purged.index);
        }
    }
}

fn log_id(index: u64) -> LogId {
    LogId { term: 1, index }
}

fn run(first: u64, sizes: &[usize]) -> JournalRun {
    let mut entries = Vec::new();
    for (index, size) in (first..).zip(sizes) {
        let command = Payload::Command(vec![index as u8; *size].into());
        let entry = Entry { log_id: Some(log_id(index)), payload: Some(command) };
        entry.encode_length_delimited(&mut entries).expect("encoded");
    }
    JournalRun { first, count: sizes.len() as u64, entries: entries.into() }
}

fn open(directory: &PowerDirectory) -> Result<Journal, Error> {
    Journal::recover(Path::new("log"), Box::new(directory.clone()), SEGMENT)
}

fn content(journal: &Journal) -> Model {
    let start = journal.head().purged.map_or(0, |id| id.index) + 1;
    // A run may begin before what was purged; and after a purge beyond the end there is a gap.
    let entries = journal.reader().read(start, u64::MAX, usize::MAX).expect("readable");
    Model { head: journal.head().clone(), entries }
}

/// What a log does: appends of all sizes, votes, truncations, purges.
fn random_frame(random: &mut StdRng, model: &Model) -> JournalFrame {
    let mut frame = JournalFrame::default();
    let next = model.next();
    let first = model.entries.first().and_then(|entry| entry.log_id).map_or(next, |id| id.index);
    match random.random_range(0..10) {
        0 => frame.vote = Some(Vote { term: random.random(), node: 1, committed: false }),
        1 if first < next => frame.truncate_from = Some(random.random_range(first..next)),
        2 | 3 if first < next => frame.purged = Some(log_id(random.random_range(first..next))),
        _ => {}
    }
    if frame.purged.is_none() || random.random_bool(0.5) {
        let next = frame.truncate_from.unwrap_or(next);
        let size = |random: &mut StdRng| match random.random_range(0..50) {
            0 => 100_000,
            1..5 => 5_000,
            _ => random.random_range(0..200),
        };
        let sizes: Vec<usize> = (0..random.random_range(1..8)).map(|_| size(random)).collect();
        frame.runs.push(run(next, &sizes));
        frame.committed = Some(log_id(next));
    }
    frame
}

/// Every acknowledged frame is there after the cut; the one under way is there as a whole or not at all.
#[test]
fn power_cuts_lose_nothing_that_was_acknowledged() {
    for seed in 0..400 {
        let mut random = seeded(seed);
        let directory = PowerDirectory::default();
        let mut model = Model::default();
        let mut with_last = model.clone();
        for life in 0..4 {
            let mut journal = open(&directory).unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            let found = content(&journal);
            assert!(found == model || found == with_last, "seed {seed}, life {life}: an acknowledged frame is lost");
            model = found;
            directory.fail_after(random.random_range(0..120));
            loop {
                let frame = random_frame(&mut random, &model);
                with_last = model.clone();
                with_last.take(&frame);
                if journal.write(frame).is_err() {
                    break;
                }
                model = with_last.clone();
            }
            drop(journal);
            directory.cut(&mut random);
        }
    }
}

#[test]
fn damage_of_what_was_acknowledged_is_refused() {
    let directory = PowerDirectory::default();
    let mut journal = open(&directory).expect("new");
    for index in 1..=3 {
        let frame = JournalFrame { runs: vec![run(index, &[100])], ..JournalFrame::default() };
        journal.write(frame).expect("written");
    }
    drop(journal);
    // In the second of three frames.
    directory.damage("0000000000000000.journal", 32 + 168 + 40);
    let error = open(&directory).err().expect("damage in the middle");
    assert!(error.to_string().contains("a frame before the last one is broken"), "{error}");

    directory.damage("0000000000000000.journal", 32 + 168 + 40);
    assert_eq!(content(&open(&directory).expect("healed")).entries.len(), 3);
    directory.damage("0000000000000000.journal", 20);
    let error = open(&directory).err().expect("a broken header");
    assert!(error.to_string().contains("a file's header is broken"), "{error}");
}

#[test]
fn files_go_when_the_log_is_purged_and_one_is_used_again() {
    let directory = PowerDirectory::default();
    let names = || super::Files::list(&directory).expect("listed");
    let mut journal = open(&directory).expect("new");
    let mut next = 1;
    for _ in 0..40 {
        journal.write(JournalFrame { runs: vec![run(next, &[8_000])], ..JournalFrame::default() }).expect("written");
        next += 1;
    }
    assert_eq!(names().len(), 5, "{:?}", names());
    journal.write(JournalFrame { purged: Some(log_id(next - 2)), ..JournalFrame::default() }).expect("purged");
    assert!(names().iter().any(|name| name == "spare"), "{:?}", names());
    // One with each frame, and one with each step between them.
    assert_eq!(names().len(), 5, "{:?}", names());
    journal.write(JournalFrame { vote: Some(Vote::default()), ..JournalFrame::default() }).expect("written");
    assert_eq!(names().len(), 4, "{:?}", names());
    assert!(journal.reclaim_step().expect("a step"));
    assert_eq!(names().len(), 3, "{:?}", names());
    assert!(journal.reclaim_step().expect("a step"));
    assert!(!journal.reclaim_step().expect("nothing is left"));
    assert_eq!(names().len(), 2, "the one in use and the spare: {:?}", names());
    drop(journal);

    let mut journal = open(&directory).expect("again");
    assert_eq!(journal.head().purged, Some(log_id(next - 2)));
    for _ in 0..8 {
        journal.write(JournalFrame { runs: vec![run(next, &[8_000])], ..JournalFrame::default() }).expect("written");
        next += 1;
    }
    assert!(!names().iter().any(|name| name == "spare"), "{:?}", names());
    let expected: Vec<u64> = (40..next).collect();
    drop(journal);
    let found = content(&open(&directory).expect("a third time"));
    assert_eq!(found.entries.iter().filter_map(|entry| entry.log_id).map(|id| id.index).collect::<Vec<_>>(), expected);
}

#[test]
fn a_reader_gets_what_it_asks_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut journal = Journal::open(&directory.path().join("log")).expect("new");
    for first in [1, 6, 11] {
        journal.write(JournalFrame { runs: vec![run(first, &[100; 5])], ..JournalFrame::default() }).expect("written");
    }
    let truncated = JournalFrame { truncate_from: Some(9), runs: vec![run(9, &[200])], ..JournalFrame::default() };
    journal.write(truncated).expect("truncated");
    let reader = journal.reader();
    let read = |start, end, limit| -> Vec<u64> {
        let entries = reader.read(start, end, limit).expect("read");
        entries.iter().filter_map(|entry| entry.log_id).map(|id| id.index).collect()
    };
    assert_eq!(read(1, 100, usize::MAX), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(read(4, 8, usize::MAX), [4, 5, 6, 7]);
    assert_eq!(read(4, 100, 150), [4, 5], "about as much as the limit");
    assert_eq!(read(10, 100, usize::MAX), [0u64; 0]);
    assert_eq!(reader.last().expect("read").and_then(|entry| entry.log_id), Some(log_id(9)));
}
