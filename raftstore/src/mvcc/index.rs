//! The index: every key with its revisions, in the order of the keys. One for all pictures.
//!
//! Who looks at a key says at which revision, and a key that came later was not there at it. So a picture never looks
//! beyond its own revision, and what a compaction has taken is missed by the pictures from before it, which are told so
//! ([`KeyIndex::is_trimmed_beyond`]).
//!
//! The set of keys is persistent: who walks through it takes it as it is ([`KeyIndex::in_order`]), and nobody waits for
//! him. While it is kept, a key that comes or goes copies the nodes on its way down the tree, each with a count for every
//! key in it: a fifth of what a put costs. When nobody walks, nothing is copied.
//!
//! One key is found by its hash: on the way down the tree each comparison waits for memory, of 100,000 keys for 5 µs in
//! all.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::hash::{Hash, Hasher, RandomState};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicI64};

use bytes::Bytes;
use dashmap::DashMap;
use imbl::OrdSet;
use parking_lot::{Mutex, RwLock};

use super::history::Older;
use super::newest::SharedNewest;
use super::{KeyHistory, Newest, Revision};

#[derive(Clone)]
pub struct KeyIndex {
    keys: Arc<RwLock<OrdSet<Entry>>>,
    /// The same keys by their hashes.
    by_hash: Arc<DashMap<Entry, ()>>,
    /// Histories may have lost what was replaced before this revision.
    trimmed: Arc<AtomicI64>,
}

/// Parts of the set of hashes: one that grows moves all that is in it, while who asks for it waits.
const PARTS: usize = 64;

/// A change copies nodes entry by entry, so an entry is as small as it can be: one reference count.
#[derive(Clone)]
pub struct Entry(Arc<IndexedKey>);

/// A key and its history, which is never looked at without a revision but by the writer.
pub struct IndexedKey {
    key: Bytes,
    newest: SharedNewest,
    older: Mutex<Older>,
}

/// What a key is at some revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub revision: Revision,
    /// All that a compare asks for, if this is the key's newest revision: of older ones the record has it.
    pub newest: Option<Newest>,
}

impl IndexedKey {
    fn new(key: Bytes, history: KeyHistory) -> Self {
        Self { key, newest: SharedNewest::new(history.newest), older: Mutex::new(history.older) }
    }

    pub fn key(&self) -> &Bytes {
        &self.key
    }

    /// The newest revision of all, also a delete.
    pub fn newest(&self) -> Newest {
        self.newest.get()
    }

    /// The key as it was when the store was at `revision`; none if there was no key then.
    pub fn at(&self, revision: i64) -> Option<Seen> {
        let newest = self.newest.get();
        if newest.revision.main <= revision {
            return newest.is_alive().then_some(Seen { revision: newest.revision, newest: Some(newest) });
        }
        // What came between is among the older ones by now.
        self.older.lock().at(revision).map(|revision| Seen { revision, newest: None })
    }

    /// The revision before `revision` if the key was alive in it.
    pub fn before(&self, revision: Revision) -> Option<Revision> {
        let newest = self.newest.get();
        if newest.revision < revision {
            return newest.is_alive().then_some(newest.revision);
        }
        self.older.lock().before(revision)
    }

    /// Every revision that the key has up to `last`, the newest first.
    pub fn revisions(&self, last: i64) -> Vec<Revision> {
        let older = self.older.lock();
        let newest = std::iter::once(self.newest.get().revision);
        newest.chain(older.revisions()).filter(|revision| revision.main <= last).collect()
    }

    /// Adds the newest revision. The writer's alone.
    pub fn push(&self, newest: Newest) {
        // Whoever finds the new one finds the one before it among the older ones.
        let mut older = self.older.lock();
        older.push(self.newest.get());
        self.newest.set(newest);
    }
}

/// Keys as they are at one moment, in their order, also those that are deleted.
pub enum Keys {
    One(Option<Arc<IndexedKey>>),
    /// Of all keys, those from the first on and before the second.
    Span(OrdSet<Entry>, Bytes, Option<Bytes>),
}

impl Keys {
    pub fn iter(&self) -> Box<dyn Iterator<Item = &IndexedKey> + '_> {
        match self {
            Self::One(one) => Box::new(one.as_deref().into_iter()),
            Self::Span(_, start, Some(end)) if start >= end => Box::new(std::iter::empty()),
            Self::Span(all, start, end) => {
                let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                Box::new(all.range::<_, [u8]>((Bound::Included(&start[..]), end)).map(|entry| entry.0.as_ref()))
            }
        }
    }
}

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        &self.0.key
    }
}

impl Hash for Entry {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.key.hash(hasher);
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

impl Default for KeyIndex {
    fn default() -> Self {
        let by_hash = DashMap::with_capacity_and_hasher_and_shard_amount(0, RandomState::new(), PARTS);
        Self { keys: Arc::default(), by_hash: Arc::new(by_hash), trimmed: Arc::default() }
    }
}

impl FromIterator<(Bytes, KeyHistory)> for KeyIndex {
    fn from_iter<Pairs: IntoIterator<Item = (Bytes, KeyHistory)>>(pairs: Pairs) -> Self {
        let mut index = Self::default();
        pairs.into_iter().for_each(|(key, history)| index.take(key, history));
        index
    }
}

impl KeyIndex {
    pub fn get(&self, key: &[u8]) -> Option<Arc<IndexedKey>> {
        self.by_hash.get(key).map(|entry| entry.key().0.clone())
    }

    /// Takes in a key that is not there, under a copy of the index's own: what is given may be a slice of something
    /// large, which must not live as long.
    pub fn insert(&mut self, key: &[u8], newest: Newest) -> Bytes {
        let own = Bytes::copy_from_slice(key);
        self.take(own.clone(), KeyHistory::new(newest));
        own
    }

    fn take(&mut self, key: Bytes, history: KeyHistory) {
        let entry = Entry(Arc::new(IndexedKey::new(key, history)));
        self.by_hash.insert(entry.clone(), ());
        self.keys.write().insert(entry);
    }

    /// Takes from a key's history what nobody may ask for any more who asks for revisions from `compacted` on, and the
    /// key itself if nothing is left. What went is returned.
    pub fn trim(&mut self, key: &[u8], compacted: i64) -> Vec<Revision> {
        let Some(indexed) = self.get(key) else { return Vec::new() };
        // Before the first history loses anything: who then looks at one under its lock knows of it.
        self.trimmed.fetch_max(compacted, atomic::Ordering::Relaxed);
        let mut older = indexed.older.lock();
        let (left, gone) = KeyHistory::compact(indexed.newest(), &older, compacted);
        match left {
            Some(left) => *older = left,
            None => {
                drop(older);
                self.keys.write().remove(key);
                self.by_hash.remove(key);
            }
        }
        gone
    }

    /// Whether what was just read at `revision` may have been incomplete. Asked after the reading.
    pub fn is_trimmed_beyond(&self, revision: i64) -> bool {
        revision < self.trimmed.load(atomic::Ordering::Relaxed)
    }

    /// The keys from `start` on and before `end`. What is taken here is not to be kept for long.
    pub fn span(&self, start: Bytes, end: Option<Bytes>) -> Keys {
        Keys::Span(self.keys.read().clone(), start, end)
    }

    /// All keys, as [`Self::span`].
    pub fn in_order(&self) -> Keys {
        self.span(Bytes::new(), None)
    }

    /// As [`Self::in_order`], for who cannot lend it.
    pub fn into_order(&self) -> impl Iterator<Item = Arc<IndexedKey>> + use<> {
        self.keys.read().clone().into_iter().map(|entry| entry.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest(main: i64) -> Newest {
        Newest { revision: Revision { main, sub: 0 }, create: 2, version: main - 1, lease: 0 }
    }

    #[test]
    fn a_key_is_the_indexs_own_whatever_it_is_named_by() {
        let mut index = KeyIndex::default();
        // As in a request: the key is a small part of it.
        let request = Bytes::from([b"key".as_slice(), &[0; 1_000]].concat());
        let own = index.insert(&request[..3], newest(2));
        assert!(!request.as_ptr_range().contains(&own.as_ptr()));
        assert_eq!(index.get(b"key").expect("it is there").key().as_ptr(), own.as_ptr());
    }

    #[test]
    fn a_picture_sees_nothing_of_what_came_after_its_revision() {
        let mut index = KeyIndex::default();
        index.insert(b"a", newest(2));
        let picture = index.clone();
        index.get(b"a").expect("it is there").push(newest(3));
        index.insert(b"b", newest(4));
        let a = picture.get(b"a").expect("it is there");
        assert_eq!(a.at(2), Some(Seen { revision: newest(2).revision, newest: None }));
        assert_eq!(a.at(3), Some(Seen { revision: newest(3).revision, newest: Some(newest(3)) }));
        assert_eq!(a.revisions(2), [newest(2).revision]);
        assert_eq!(picture.get(b"b").and_then(|b| b.at(2)), None);
        assert_eq!(picture.in_order().iter().filter(|indexed| indexed.at(2).is_some()).count(), 1);
    }

    #[test]
    fn a_picture_from_before_a_compaction_is_told_that_it_misses_something() {
        let mut index = KeyIndex::default();
        index.insert(b"a", newest(2));
        index.get(b"a").expect("it is there").push(newest(5));
        let picture = index.clone();
        assert!(!picture.is_trimmed_beyond(3));
        assert_eq!(index.trim(b"a", 5), [newest(2).revision]);
        assert_eq!(picture.get(b"a").expect("it is there").at(3), None);
        assert!(picture.is_trimmed_beyond(3));
        assert!(!picture.is_trimmed_beyond(5));
    }
}
