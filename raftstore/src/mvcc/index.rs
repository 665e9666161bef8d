//! The index: every key with its revisions, in the order of the keys. Shared between pictures.
//!
//! A change copies the nodes on its way down the tree, entry by entry, so an entry is as small as it can be: one reference
//! count, of what stands for the key. (A key and its history in place were 80 bytes and two counts.)

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdSet;

use super::{KeyHistory, Newest};

#[derive(Clone, Default)]
pub struct KeyIndex(OrdSet<Entry>);

#[derive(Clone)]
struct Entry(Arc<Named>);

struct Named {
    key: Bytes,
    history: KeyHistory,
}

impl Entry {
    fn new(key: Bytes, history: KeyHistory) -> Self {
        Self(Arc::new(Named { key, history }))
    }

    fn pair(&self) -> (&Bytes, &KeyHistory) {
        (&self.0.key, &self.0.history)
    }
}

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        &self.0.key
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

impl FromIterator<(Bytes, KeyHistory)> for KeyIndex {
    fn from_iter<Pairs: IntoIterator<Item = (Bytes, KeyHistory)>>(pairs: Pairs) -> Self {
        Self(pairs.into_iter().map(|(key, history)| Entry::new(key, history)).collect())
    }
}

impl KeyIndex {
    pub fn get(&self, key: &[u8]) -> Option<&KeyHistory> {
        self.0.get(key).map(|entry| &entry.0.history)
    }

    /// With the index's own copy of the key.
    pub fn get_key_value(&self, key: &[u8]) -> Option<(&Bytes, &KeyHistory)> {
        self.0.get(key).map(Entry::pair)
    }

    /// Adds the newest revision of a key, and hands out the index's own copy of it.
    pub fn push(&mut self, key: &[u8], newest: Newest) -> Bytes {
        self.put(key, |old| match old.cloned() {
            Some(mut history) => {
                history.push(newest);
                history
            }
            None => KeyHistory::new(newest),
        })
    }

    pub fn replace(&mut self, key: &[u8], history: KeyHistory) {
        self.put(key, |_| history);
    }

    /// The index has copies of its own: the key that is given may be a slice of something large, which must not live as
    /// long.
    fn put(&mut self, key: &[u8], history: impl FnOnce(Option<&KeyHistory>) -> KeyHistory) -> Bytes {
        let old = self.get_key_value(key);
        let own = old.map_or_else(|| Bytes::copy_from_slice(key), |(own, _)| own.clone());
        let history = history(old.map(|(_, history)| history));
        self.0.insert(Entry::new(own.clone(), history));
        own
    }

    pub fn remove(&mut self, key: &[u8]) {
        self.0.remove(key);
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, &KeyHistory)> + use<'_> {
        self.0.iter().map(Entry::pair)
    }

    pub fn range<'i>(
        &'i self,
        start: &[u8],
        end: Bound<&[u8]>,
    ) -> impl Iterator<Item = (&'i Bytes, &'i KeyHistory)> + use<'i> {
        self.0.range::<_, [u8]>((Bound::Included(start), end)).map(Entry::pair)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mvcc::Revision;

    #[test]
    fn a_key_stays_the_indexs_own_whatever_it_is_named_by() {
        let newest = |main| Newest { revision: Revision { main, sub: 0 }, create: 2, version: main - 1, lease: 0 };
        let mut index = KeyIndex::default();
        let own = index.push(b"key", newest(2));
        // As a record of the database: the key is a small part of it.
        let record = Bytes::from([b"key".as_slice(), &[0; 1_000]].concat());
        let named = record.slice(..3);
        assert_eq!(index.push(&named, newest(3)).as_ptr(), own.as_ptr());
        index.replace(&named, KeyHistory::new(newest(3)));
        let (kept, history) = index.get_key_value(b"key").expect("it is there");
        assert_eq!((kept.as_ptr(), history.newest), (own.as_ptr(), newest(3)));
    }
}
