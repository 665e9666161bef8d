//! The revisions of one key.
//!
//! The newest is at hand with all that a compare asks for. The older ones hang behind it in chunks: what is asked for is
//! mostly in the first, and a put copies one at most, however long the history is. There may be many older revisions to
//! a key, and memory holds them all: they are packed, at three bytes or so for each.

use prost::encoding::{decode_varint, encode_varint};

/// A change's place in the order of all changes: the revision, and the place within its transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    pub main: i64,
    pub sub: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    pub revision: Revision,
    pub create: i64,
    /// 0: the key is deleted.
    pub version: i64,
    pub lease: i64,
}

/// A key's history as it is loaded and compacted; in the index the two lie side by side.
#[derive(Debug)]
pub struct KeyHistory {
    pub newest: Newest,
    pub older: Older,
}

/// The revisions before the newest one.
#[derive(Debug, Default)]
pub struct Older(Option<Box<Chunk>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Past {
    revision: Revision,
    deleted: bool,
}

/// Some revisions, ascending, and what is older than all of them.
///
/// A revision is a number of variable length: how far it is from the one before (the first one: from 0), whether it is a
/// delete, and whether a second number follows, its place in its transaction, which mostly is 0.
#[derive(Debug)]
struct Chunk {
    packed: Vec<u8>,
    count: usize,
    last_main: i64,
    older: Option<Box<Chunk>>,
}

impl Past {
    fn of(newest: Newest) -> Self {
        Self { revision: newest.revision, deleted: !newest.is_alive() }
    }
}

const CHUNK: usize = 64;
const DELETED: u64 = 1;
const HAS_PLACE: u64 = 2;
const FLAG_BITS: u32 = 2;

impl Chunk {
    fn new(revisions: &[Past], older: Option<Box<Chunk>>) -> Self {
        let mut chunk = Self { packed: Vec::new(), count: 0, last_main: 0, older };
        revisions.iter().for_each(|past| chunk.push(*past));
        chunk
    }

    fn push(&mut self, past: Past) {
        let distance = (past.revision.main - self.last_main) as u64;
        let mut flags = 0;
        if past.deleted {
            flags |= DELETED;
        }
        if past.revision.sub != 0 {
            flags |= HAS_PLACE;
        }
        encode_varint(distance << FLAG_BITS | flags, &mut self.packed);
        if past.revision.sub != 0 {
            encode_varint(u64::from(past.revision.sub), &mut self.packed);
        }
        self.last_main = past.revision.main;
        self.count += 1;
    }

    fn iter(&self) -> Unpacked<'_> {
        Unpacked { packed: &self.packed, main: 0 }
    }

    fn newest_first(&self) -> impl Iterator<Item = Past> + use<> {
        let mut all: Vec<Past> = self.iter().collect();
        all.reverse();
        all.into_iter()
    }
}

struct Unpacked<'a> {
    packed: &'a [u8],
    main: i64,
}

impl Iterator for Unpacked<'_> {
    type Item = Past;

    fn next(&mut self) -> Option<Past> {
        // Only `push` writes here: a number that begins also ends.
        let number = decode_varint(&mut self.packed).ok()?;
        let place = if number & HAS_PLACE == 0 { 0 } else { decode_varint(&mut self.packed).ok()? };
        self.main += (number >> FLAG_BITS) as i64;
        let revision = Revision { main: self.main, sub: place as u32 };
        Some(Past { revision, deleted: number & DELETED != 0 })
    }
}

impl Newest {
    pub fn is_alive(&self) -> bool {
        self.version > 0
    }
}

impl KeyHistory {
    pub fn new(newest: Newest) -> Self {
        Self { newest, older: Older::default() }
    }

    pub fn push(&mut self, newest: Newest) {
        self.older.push(std::mem::replace(&mut self.newest, newest));
    }

    /// What is left of the older revisions when nobody may ask for revisions before `compacted`, and the revisions that
    /// go. None is left of a key that was deleted before.
    pub fn compact(newest: Newest, older: &Older, compacted: i64) -> (Option<Older>, Vec<Revision>) {
        let mut all: Vec<Past> = older.newest_first().collect();
        all.reverse();
        all.push(Past::of(newest));
        let reachable = all.partition_point(|past| past.revision.main <= compacted).saturating_sub(1);
        let first_kept = match all[reachable] {
            // A watch may still start at the compacted revision itself, so a delete at it stays.
            past if past.deleted && past.revision.main < compacted => reachable + 1,
            _ => reachable,
        };
        let gone = all.drain(..first_kept).map(|past| past.revision).collect();
        if all.pop().is_none() {
            return (None, gone);
        }
        let older = all.chunks(CHUNK).fold(None, |older, revisions| Some(Box::new(Chunk::new(revisions, older))));
        (Some(Older(older)), gone)
    }
}

impl Older {
    /// What was the newest until now.
    pub fn push(&mut self, newest: Newest) {
        let past = Past::of(newest);
        self.0 = Some(match self.0.take() {
            Some(mut chunk) if chunk.count < CHUNK => {
                chunk.push(past);
                chunk
            }
            older => Box::new(Chunk::new(&[past], older)),
        });
    }

    /// The one that was the newest when the store was at `revision`; none if there was no key then.
    pub fn at(&self, revision: i64) -> Option<Revision> {
        let past = self.last(|past| past.main <= revision)?;
        (!past.deleted).then_some(past.revision)
    }

    /// The revision before `revision` if the key was alive in it.
    pub fn before(&self, revision: Revision) -> Option<Revision> {
        let past = self.last(|past| past < revision)?;
        (!past.deleted).then_some(past.revision)
    }

    pub fn revisions(&self) -> impl Iterator<Item = Revision> + '_ {
        self.newest_first().map(|past| past.revision)
    }

    fn newest_first(&self) -> impl Iterator<Item = Past> + '_ {
        self.chunks().flat_map(Chunk::newest_first)
    }

    /// The newest of which this holds; it holds of all that are older than one of which it does.
    fn last(&self, holds: impl Fn(Revision) -> bool) -> Option<Past> {
        self.chunks().find_map(|chunk| chunk.iter().take_while(|past| holds(past.revision)).last())
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        std::iter::successors(self.0.as_deref(), |chunk| chunk.older.as_deref())
    }
}

impl Drop for Chunk {
    /// One after the other: a long chain would overflow the stack.
    fn drop(&mut self) {
        let mut older = self.older.take();
        while let Some(mut chunk) = older {
            older = chunk.older.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn newest(main: i64, version: i64) -> Newest {
        Newest { revision: Revision { main, sub: 0 }, create: 1, version, lease: 0 }
    }

    /// As the index answers: the newest, or one of the older ones.
    fn at(newest: Newest, older: &Older, revision: i64) -> Option<Revision> {
        if newest.revision.main <= revision {
            return newest.is_alive().then_some(newest.revision);
        }
        older.at(revision)
    }

    fn history(alive: &[bool]) -> KeyHistory {
        let version = |alive: bool| i64::from(alive);
        let mut history = KeyHistory::new(newest(1, version(alive[0])));
        for (at, alive) in alive.iter().enumerate().skip(1) {
            history.push(newest(at as i64 + 1, version(*alive)));
        }
        history
    }

    #[test]
    fn a_very_long_history_is_dropped_without_recursion() {
        drop(history(&vec![true; 300_000]));
    }

    proptest! {
        #[test]
        fn packed_revisions_are_unpacked_as_they_were(
            steps in prop::collection::vec((0_i64..1 << 40, 0_u32..3, any::<bool>()), 0..CHUNK),
        ) {
            let mut main = 0;
            let pasts: Vec<Past> = steps
                .into_iter()
                .map(|(step, sub, deleted)| {
                    main += step;
                    Past { revision: Revision { main, sub }, deleted }
                })
                .collect();
            let chunk = Chunk::new(&pasts, None);
            prop_assert_eq!(chunk.iter().collect::<Vec<_>>(), pasts);
        }

        #[test]
        fn compaction_keeps_every_answer_from_the_compacted_revision_on(
            alive in prop::collection::vec(any::<bool>(), 1..300),
            compacted in 1_i64..310,
        ) {
            let whole = history(&alive);
            let (left, gone) = KeyHistory::compact(whole.newest, &whole.older, compacted);
            let last = alive.len() as i64 + 5;
            for revision in compacted.min(last)..=last {
                let expected = at(whole.newest, &whole.older, revision);
                prop_assert_eq!(left.as_ref().and_then(|left| at(whole.newest, left, revision)), expected);
            }
            let kept = left.as_ref().map_or(0, |left| left.revisions().count() + 1);
            prop_assert_eq!(kept + gone.len(), alive.len());
            // What is left below the compacted revision is one revision, and not a deleted one.
            if let Some(left) = &left {
                let newest = [whole.newest.revision].into_iter();
                prop_assert!(left.revisions().chain(newest).filter(|revision| revision.main <= compacted).count() <= 1);
            }
        }

        #[test]
        fn the_revision_before_is_the_last_one_alive(alive in prop::collection::vec(any::<bool>(), 2..200)) {
            let whole = history(&alive);
            for at in 2..=alive.len() {
                let before = whole.older.before(Revision { main: at as i64, sub: 0 });
                let expected = alive[at - 2].then_some(Revision { main: at as i64 - 1, sub: 0 });
                prop_assert_eq!(before, expected);
            }
        }
    }
}
