//! Small records, many to one record of the engine.
//!
//! sled keeps about 150 bytes in memory for each record that it holds, however small, and works longer at a record than at
//! its bytes. The records of the history are small, many, and come in the order of their keys. So what follows each other
//! is put together until it has [`BUNDLE_BYTES`]: a bundle, under the key of its first record. A record that is removed is
//! cut out, and its bundle is written anew; a bundle never takes in what was in another.
//!
//! ```text
//! x <the first record's key without its kind>   of each record, in order: u32 length (little endian), key without its
//!                                               kind, value
//! ```
//! A record that does not come in order lies by itself, under its own key.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Batch, Error, Records, Result, Storage};

/// The kind of the keys that are bundled. They have one length.
const RECORD: u8 = b'r';
/// The kind of the bundles' keys: behind all other kinds.
const BUNDLE: u8 = b'x';
/// A key without its kind.
const NAME: usize = 12;
const LENGTH: usize = 4;
const HEAD: usize = LENGTH + NAME;
/// A bundle takes in no more when it would become larger. To read one record the engine may have to read a leaf of some
/// bundles from the disk, and to remove one a bundle is written.
const BUNDLE_BYTES: usize = 3 << 10;

type Name = [u8; NAME];

/// What bundles need of a database beyond [`Storage`].
pub trait Engine: Storage {
    /// The record with the greatest key that is not greater than this one.
    fn floor(&self, key: &[u8]) -> Result<Option<(Bytes, Bytes)>>;
}

pub struct Bundled<Inner> {
    pub(super) inner: Inner,
    writer: Mutex<Writer>,
    /// Some records may lie by themselves.
    has_single: AtomicBool,
}

/// Where the next record goes.
#[derive(Default)]
struct Writer {
    /// The newest bundle, if it may take in more.
    open: Option<(Name, Vec<u8>)>,
    /// The last record. Only what is behind it comes into a bundle.
    last: Option<Name>,
}

fn name_of(key: &[u8]) -> Option<Name> {
    let (kind, name) = key.split_first()?;
    if *kind == RECORD { name.try_into().ok() } else { None }
}

fn key_of(kind: u8, name: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + name.len());
    key.push(kind);
    key.extend_from_slice(name);
    key
}

fn damaged() -> Error {
    Error::Damaged { path: "state".into(), what: "a bundle of records ends within one" }
}

/// A record within its bundle.
struct Place {
    name: Name,
    /// With its head.
    whole: Range<usize>,
    value: Range<usize>,
}

/// The record that begins at this offset; none at the end.
fn place(bundle: &[u8], start: usize) -> Result<Option<Place>> {
    let Some(rest) = bundle.get(start..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
    let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else { return Err(damaged()) };
    let [a, b, c, d, name @ ..] = *head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    if rest.len() < length {
        return Err(damaged());
    }
    let value = start + HEAD..start + HEAD + length;
    Ok(Some(Place { name, whole: start..value.end, value }))
}

fn find(bundle: &[u8], name: &Name) -> Result<Option<Place>> {
    let mut start = 0;
    while let Some(found) = place(bundle, start)? {
        if found.name >= *name {
            return Ok((found.name == *name).then_some(found));
        }
        start = found.whole.end;
    }
    Ok(None)
}

/// Cuts a record out; false if it is not there.
fn cut_out(bundle: &mut Vec<u8>, name: &Name) -> Result<bool> {
    let Some(found) = find(bundle, name)? else { return Ok(false) };
    bundle.drain(found.whole);
    Ok(true)
}

fn push(bundle: &mut Vec<u8>, name: &Name, value: &[u8]) {
    // A value is no larger than a request.
    bundle.extend_from_slice(&(value.len() as u32).to_le_bytes());
    bundle.extend_from_slice(name);
    bundle.extend_from_slice(value);
}

impl<Inner: Engine> Bundled<Inner> {
    pub fn new(inner: Inner) -> Result<Self> {
        let mut writer = Writer::default();
        if let Some((name, bundle)) = newest_at(&inner, &[u8::MAX; NAME])? {
            let mut start = 0;
            while let Some(place) = place(&bundle, start)? {
                (writer.last, start) = (Some(place.name), place.whole.end);
            }
            writer.open = Some((name, bundle.to_vec()));
        }
        let single = inner.floor(&key_of(RECORD, &[u8::MAX; NAME]))?.and_then(|(key, _)| name_of(&key));
        // No record is in a bundle and by itself.
        writer.last = writer.last.max(single);
        Ok(Self { inner, writer: Mutex::new(writer), has_single: AtomicBool::new(single.is_some()) })
    }
}

/// The bundle in which a record of this name would be.
fn newest_at(inner: &impl Engine, name: &[u8]) -> Result<Option<(Name, Bytes)>> {
    let found = inner.floor(&key_of(BUNDLE, name))?;
    Ok(found.and_then(|(key, bundle)| {
        let (kind, name) = key.split_first()?;
        if *kind == BUNDLE { Some((name.try_into().ok()?, bundle)) } else { None }
    }))
}

/// What a batch makes of the bundles, before it is written.
struct Draft<'a, Inner> {
    inner: &'a Inner,
    writer: &'a mut Writer,
    /// The open bundle is another than on the disk.
    is_touched: bool,
    /// Other bundles as they shall be; empty ones go.
    changed: BTreeMap<Name, Vec<u8>>,
}

impl<Inner: Engine> Draft<'_, Inner> {
    /// Adds a record behind all others; false if it is not behind them.
    fn append(&mut self, name: Name, value: &[u8]) -> bool {
        if self.writer.last.is_some_and(|last| last >= name) {
            return false;
        }
        let has_room = |bundle: &Vec<u8>| bundle.is_empty() || bundle.len() + HEAD + value.len() <= BUNDLE_BYTES;
        if !self.writer.open.as_ref().is_some_and(|(_, bundle)| has_room(bundle)) {
            self.close();
        }
        let (_, bundle) = self.writer.open.get_or_insert_with(|| (name, Vec::new()));
        push(bundle, &name, value);
        self.writer.last = Some(name);
        self.is_touched = true;
        true
    }

    fn close(&mut self) {
        if let Some((name, bundle)) = self.writer.open.take()
            && std::mem::take(&mut self.is_touched)
        {
            self.changed.insert(name, bundle);
        }
    }

    /// Cuts a record out of its bundle; false if it is in none.
    fn cut(&mut self, name: &Name) -> Result<bool> {
        if let Some((open, bundle)) = &mut self.writer.open
            && *open <= *name
        {
            let is_cut = cut_out(bundle, name)?;
            self.is_touched |= is_cut;
            return Ok(is_cut);
        }
        let stored = newest_at(self.inner, name)?;
        if let Some((drafted, bundle)) = self.changed.range_mut(..=*name).next_back()
            && stored.as_ref().is_none_or(|(stored, _)| stored <= drafted)
        {
            return cut_out(bundle, name);
        }
        let Some((stored, bundle)) = stored else { return Ok(false) };
        let mut bundle = bundle.to_vec();
        let is_cut = cut_out(&mut bundle, name)?;
        if is_cut {
            self.changed.insert(stored, bundle);
        }
        Ok(is_cut)
    }

    fn finish(mut self, batch: &mut Batch) {
        if self.is_touched
            && let Some((name, bundle)) = &self.writer.open
        {
            self.changed.insert(*name, bundle.clone());
        }
        // An empty one has no first record: the next begins one of its own.
        self.writer.open.take_if(|(_, bundle)| bundle.is_empty());
        for (name, bundle) in self.changed {
            let key = key_of(BUNDLE, &name);
            if bundle.is_empty() { batch.remove(key) } else { batch.put(key, bundle) }
        }
    }
}

impl<Inner: Engine> Storage for Bundled<Inner> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let Some(name) = name_of(key) else { return self.inner.get(key) };
        if let Some((_, bundle)) = newest_at(&self.inner, &name)?
            && let Some(found) = find(&bundle, &name)?
        {
            // Who keeps a value must not keep many times its size.
            let is_most = found.value.len() * 2 >= bundle.len();
            let value = bundle.slice(found.value);
            return Ok(Some(if is_most { value } else { Bytes::copy_from_slice(&value) }));
        }
        if self.has_single.load(Ordering::Acquire) { self.inner.get(key) } else { Ok(None) }
    }

    fn scan(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Records {
        let bundled = match Unbundled::of(&self.inner, start, end) {
            Ok(bundled) => bundled,
            Err(error) => return Box::new(std::iter::once(Err(error))),
        };
        let is_before_bundles = match end {
            Bound::Included(end) | Bound::Excluded(end) => end < &[BUNDLE][..],
            Bound::Unbounded => false,
        };
        let others = self.inner.scan(start, if is_before_bundles { end } else { Bound::Excluded(&[BUNDLE]) });
        Box::new(Merged { one: others.peekable(), other: bundled.peekable() })
    }

    fn write(&self, batch: Batch) -> Result<()> {
        let mut writer = self.writer.lock();
        let mut draft = Draft { inner: &self.inner, writer: &mut writer, is_touched: false, changed: BTreeMap::new() };
        let mut changes = Batch::default();
        for (key, value) in batch.changes {
            if let Some(name) = name_of(&key) {
                match &value {
                    Some(value) if draft.append(name, value) => continue,
                    None if draft.cut(&name)? => continue,
                    Some(_) => {
                        // Not in order: by itself, and no longer in a bundle.
                        draft.cut(&name)?;
                        self.has_single.store(true, Ordering::Release);
                    }
                    None if !self.has_single.load(Ordering::Acquire) => continue,
                    None => {}
                }
            }
            changes.changes.push((key, value));
        }
        draft.finish(&mut changes);
        self.inner.write(changes)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn size_on_disk(&self) -> Result<u64> {
        self.inner.size_on_disk()
    }
}

/// The records in the bundles, one by one.
struct Unbundled {
    bundles: Records,
    bundle: Bytes,
    at: usize,
    bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
}

impl Unbundled {
    fn of(inner: &impl Engine, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Result<Self> {
        // The first record may be within a bundle that begins before it.
        let first = match start {
            Bound::Included(key) | Bound::Excluded(key) if key.first() == Some(&RECORD) => {
                let begun = newest_at(inner, &key[1..])?;
                key_of(BUNDLE, begun.as_ref().map_or(&key[1..], |(name, _)| name))
            }
            Bound::Included(key) | Bound::Excluded(key) if key > &[RECORD][..] => vec![BUNDLE + 1],
            _ => vec![BUNDLE],
        };
        let last = match end {
            Bound::Included(key) | Bound::Excluded(key) if key.first() == Some(&RECORD) => key_of(BUNDLE, &key[1..]),
            Bound::Included(key) | Bound::Excluded(key) if key < &[RECORD][..] => vec![BUNDLE],
            _ => vec![BUNDLE + 1],
        };
        let bundles: Records = if first > last {
            Box::new(std::iter::empty())
        } else {
            inner.scan(Bound::Included(&first), Bound::Included(&last))
        };
        let bounds = (start.map(<[u8]>::to_vec), end.map(<[u8]>::to_vec));
        Ok(Self { bundles, bundle: Bytes::new(), at: 0, bounds })
    }

    fn advance(&mut self) -> Result<Option<(Bytes, Bytes)>> {
        loop {
            if let Some(found) = place(&self.bundle, self.at)? {
                self.at = found.whole.end;
                let key = key_of(RECORD, &found.name);
                if RangeBounds::<Vec<u8>>::contains(&self.bounds, &key) {
                    return Ok(Some((key.into(), self.bundle.slice(found.value))));
                }
                continue;
            }
            let Some(next) = self.bundles.next() else { return Ok(None) };
            (self.bundle, self.at) = (next?.1, 0);
        }
    }
}

impl Iterator for Unbundled {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

/// Two scans with no key in common, in the order of the keys.
struct Merged {
    one: Peekable<Records>,
    other: Peekable<Unbundled>,
}

impl Iterator for Merged {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let one_is_next = match (self.one.peek(), self.other.peek()) {
            (Some(Ok((one, _))), Some(Ok((other, _)))) => one < other,
            (Some(Err(_)), _) | (_, None) => true,
            _ => false,
        };
        if one_is_next { self.one.next() } else { self.other.next() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::SledStorage;
    use super::super::memory::MemoryStorage;
    use super::*;

    fn record(number: u64) -> Vec<u8> {
        let mut name = [0; NAME];
        name[..8].copy_from_slice(&number.to_be_bytes());
        key_of(RECORD, &name)
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// The next records, of these sizes.
        Append(Vec<usize>),
        /// Some record, in whatever order.
        Put(u64, usize),
        Remove(Vec<u64>),
        Others(u8),
        Reopen,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let size = || prop_oneof![8 => 0..700_usize, 1 => 3_000..9_000_usize];
        let step = prop_oneof![
            4 => prop::collection::vec(size(), 1..30).prop_map(Step::Append),
            1 => (0..200_u64, size()).prop_map(|(number, size)| Step::Put(number, size)),
            4 => prop::collection::vec(0..200_u64, 1..40).prop_map(Step::Remove),
            1 => any::<u8>().prop_map(Step::Others),
            1 => Just(Step::Reopen),
        ];
        prop::collection::vec(step, 1..25)
    }

    fn all(storage: &impl Storage, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Vec<(Bytes, Bytes)> {
        storage.scan(start, end).collect::<Result<_>>().expect("read")
    }

    proptest! {
        #[test]
        fn it_is_a_database_as_any_other(singles in 0..5_u64, steps in steps(), from in 0..200_u64, to in 0..200_u64) {
            let mut model: BTreeMap<Vec<u8>, Bytes> = BTreeMap::new();
            // Some lie by themselves.
            let (inner, mut early) = (MemoryStorage::default(), Batch::default());
            for number in 0..singles {
                model.insert(record(number), Bytes::from_static(b"early"));
                early.put(record(number), &b"early"[..]);
            }
            inner.write(early).expect("written");
            let mut storage = Bundled::new(inner).expect("it opens");
            let mut next = 10;
            for step in steps {
                let mut batch = Batch::default();
                match step {
                    Step::Append(sizes) => for size in sizes {
                        next += 3;
                        batch.put(record(next), vec![next as u8; size]);
                    },
                    Step::Put(number, size) => batch.put(record(number), vec![1; size]),
                    Step::Remove(numbers) => numbers.iter().for_each(|number| batch.remove(record(*number))),
                    Step::Others(value) => for kind in [b'a', b'h', b'v'] {
                        batch.put([kind].to_vec(), vec![value; 10]);
                    },
                    Step::Reopen => {
                        let Bundled { inner, .. } = storage;
                        storage = Bundled::new(inner).expect("it opens again");
                    }
                }
                for (key, value) in &batch.changes {
                    match value {
                        Some(value) => drop(model.insert(key.clone(), value.clone())),
                        None => drop(model.remove(key)),
                    }
                }
                storage.write(batch).expect("written");
            }
            let expected: Vec<_> = model.iter().map(|(key, value)| (Bytes::from(key.clone()), value.clone())).collect();
            prop_assert_eq!(all(&storage, Bound::Unbounded, Bound::Unbounded), expected);
            for number in 0..next + 5 {
                prop_assert_eq!(storage.get(&record(number)).expect("read"), model.get(&record(number)).cloned());
            }
            let (from, to) = (record(from.min(to)), record(from.max(to)));
            for bounds in [
                (Bound::Included(&from[..]), Bound::Included(&to[..])),
                (Bound::Excluded(&from[..]), Bound::Excluded(&to[..])),
                (Bound::Unbounded, Bound::Excluded(&to[..])),
                (Bound::Included(&from[..]), Bound::Unbounded),
                (Bound::Included(&b"b"[..]), Bound::Excluded(&b"i"[..])),
                (Bound::Included(&b"s"[..]), Bound::Unbounded),
            ] {
                if from == to && bounds.0 == Bound::Excluded(&from[..]) {
                    continue;
                }
                let expected: Vec<_> = model.range::<[u8], _>(bounds).collect();
                let found = all(&storage, bounds.0, bounds.1);
                prop_assert_eq!(found.len(), expected.len());
                prop_assert!(found.iter().zip(expected).all(|(found, expected)| found.0 == expected.0 && found.1 == expected.1));
            }
        }
    }

    #[test]
    fn many_records_are_few_of_the_engine() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = Bundled::new(SledStorage::open(directory.path(), 1 << 20).expect("it opens")).expect("it opens");
        for first in (0..3_000).step_by(10) {
            let mut batch = Batch::default();
            (first..first + 10).for_each(|number| batch.put(record(number), vec![7; 300]));
            storage.write(batch).expect("written");
        }
        // One that sled is given in parts.
        let mut batch = Batch::default();
        batch.put(record(5_000), vec![8; 200_000]);
        batch.put(record(5_001), vec![9; 300]);
        storage.write(batch).expect("written");
        let bundles = 3_000_usize.div_ceil(BUNDLE_BYTES / (HEAD + 300)) + 2;
        assert_eq!(all(&storage.inner, Bound::Unbounded, Bound::Unbounded).len(), bundles);
        assert_eq!(all(&storage, Bound::Unbounded, Bound::Unbounded).len(), 3_002);
        assert_eq!(storage.get(&record(5_000)).expect("read").map(|value| value.len()), Some(200_000));
        assert_eq!(storage.get(&record(5_001)).expect("read").map(|value| value.len()), Some(300));
        assert_eq!(storage.get(&record(4_000)).expect("read"), None);
        let mut batch = Batch::default();
        (0..6_000).for_each(|number| batch.remove(record(number)));
        storage.write(batch).expect("written");
        assert!(all(&storage.inner, Bound::Unbounded, Bound::Unbounded).is_empty());
    }
}
