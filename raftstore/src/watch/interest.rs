//! Who has an interest in a key: found by hash for single keys, by a walk over the distinct ranges for the others.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::mvcc::KeyRange;

pub struct Interest<Id> {
    single: HashMap<Bytes, Vec<Id>>,
    ranges: BTreeMap<KeyRange, Vec<Id>>,
}

impl<Id: Copy + PartialEq> Interest<Id> {
    pub fn new() -> Self {
        Self { single: HashMap::new(), ranges: BTreeMap::new() }
    }

    pub fn add(&mut self, range: &KeyRange, id: Id) {
        match range {
            KeyRange::One(key) => self.single.entry(key.clone()).or_default().push(id),
            range => self.ranges.entry(range.clone()).or_default().push(id),
        }
    }

    /// Removes one mention of `id` for this range.
    pub fn remove(&mut self, range: &KeyRange, id: Id) {
        let take = |ids: &mut Vec<Id>| {
            if let Some(place) = ids.iter().position(|other| *other == id) {
                ids.swap_remove(place);
            }
            ids.is_empty()
        };
        match range {
            KeyRange::One(key) => {
                if self.single.get_mut(key).is_some_and(take) {
                    self.single.remove(key);
                }
            }
            range => {
                if self.ranges.get_mut(range).is_some_and(take) {
                    self.ranges.remove(range);
                }
            }
        }
    }

    pub fn of<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = Id> + 'a {
        let ranges = self.ranges.iter().filter(move |(range, _)| range.contains(key)).flat_map(|(_, ids)| ids);
        self.single.get(key).into_iter().flatten().chain(ranges).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_find_their_watches_and_removal_takes_one_of_them() {
        let mut interest = Interest::new();
        let span = KeyRange::Span(Bytes::from_static(b"a"), Bytes::from_static(b"c"));
        interest.add(&KeyRange::One(Bytes::from_static(b"b")), 1);
        interest.add(&span, 2);
        interest.add(&span, 3);
        interest.add(&KeyRange::From(Bytes::from_static(b"b")), 4);
        let of = |interest: &Interest<i32>, key: &[u8]| {
            let mut ids: Vec<i32> = interest.of(key).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(of(&interest, b"b"), [1, 2, 3, 4]);
        assert_eq!(of(&interest, b"a"), [2, 3]);
        assert_eq!(of(&interest, b"z"), [4]);
        interest.remove(&span, 2);
        interest.remove(&KeyRange::One(Bytes::from_static(b"b")), 1);
        assert_eq!(of(&interest, b"b"), [3, 4]);
    }
}
