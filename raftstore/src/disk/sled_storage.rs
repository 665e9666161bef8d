//! sled behind [`Storage`].
//!
//! sled 0.34's `flush` ends in `sync_file_range`, which is no barrier against power loss. So each database keeps a
//! descriptor of its own on sled's one file, and `sync` is sled's flush followed by `fdatasync` on it.
//!
//! sled moves items that are larger than a quarter of a segment into blob files, which it never syncs. An item is a whole
//! leaf of up to 17 records, so values are cut into parts of [`PART`] bytes: a leaf then stays inside its segment.
//! Should a blob file appear all the same, `sync` syncs it too. Segments are small: sled writes through buffers of their
//! size, and some dozens of them wait to be freed at any time.

use std::fs::File;
use std::hash::{Hash as _, Hasher as _};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::bundles::Engine;
use super::{Batch, Error, Records, Result, Storage};

const SEGMENT: usize = 256 << 10;
/// 17 parts and their keys are less than a quarter of a segment.
const PART: usize = 3_500;
/// The first byte of each stored value: all of it, the first part of some (two bytes say how many follow), or another part.
const WHOLE: u8 = 0;
const IS_HEAD: u8 = 1;
const IS_PART: u8 = 255;
/// What the key of a part has beyond the key of its record: [`IS_PART`] and its number.
const PART_KEY: usize = 3;
const MAX_PARTS: usize = u16::MAX as usize;
/// The process that held the database before may still be going.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

pub struct SledStorage {
    reader: Reader,
    file: File,
    blobs: PathBuf,
}

/// What iterators need of the database beyond their borrow of it.
#[derive(Clone)]
struct Reader {
    path: PathBuf,
    database: sled::Db,
    visits: Arc<Visits>,
}

impl Reader {
    fn failed(&self, source: sled::Error) -> Error {
        Error::Engine { path: self.path.clone(), source }
    }

    fn part_key(key: &[u8], part: usize) -> Vec<u8> {
        let [high, low] = (part as u16).to_be_bytes();
        let mut part_key = Vec::with_capacity(key.len() + PART_KEY);
        part_key.extend_from_slice(key);
        part_key.extend_from_slice(&[IS_PART, high, low]);
        part_key
    }

    /// How many parts follow this one.
    fn following(&self, head: &[u8]) -> Result<usize> {
        match head {
            [WHOLE, ..] => Ok(0),
            [IS_HEAD, high, low, ..] => Ok(usize::from(u16::from_be_bytes([*high, *low]))),
            _ => Err(self.damaged("a value that begins with nothing known")),
        }
    }

    /// The whole value that begins with `head`.
    fn assemble(&self, key: &[u8], head: sled::IVec) -> Result<Bytes> {
        self.settle(key, head.len());
        let parts = self.following(&head)?;
        let head = Bytes::from_owner(head);
        if parts == 0 {
            return Ok(head.slice(1..));
        }
        let mut value = BytesMut::with_capacity((parts + 1) * PART);
        value.extend_from_slice(&head[3..]);
        for part in 1..=parts {
            let found = self.database.get(Self::part_key(key, part)).map_err(|error| self.failed(error))?;
            let found = found.ok_or(self.damaged("a value lacks a part"))?;
            value.extend_from_slice(found.get(1..).ok_or(self.damaged("an empty part"))?);
        }
        Ok(value.freeze())
    }

    /// Lets the cache forget what it need not keep, when a record was read that may have brought a page with it.
    fn settle(&self, key: &[u8], length: usize) {
        if self.visits.is_settling_due(key, length) {
            for _ in 0..ACCESSES_TO_SETTLE {
                // The record was read a moment ago: its page is there.
                let _ = self.database.get(key);
            }
        }
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { path: self.path.clone(), what }
    }

    fn parts_of(&self, key: &[u8]) -> Result<usize> {
        let head = self.database.get(key).map_err(|error| self.failed(error))?;
        head.map_or(Ok(0), |head| self.following(&head))
    }
}

/// sled's cache has 256 parts, and looks at the size of one only when 64 accesses to it have come together: up to then
/// 16,384 pages stay that were read once, whatever [`SledStorage::open`] was told. So after some bytes of records that
/// were not read lately, the page of the last one is accessed that often, and its part of the cache comes to its size.
struct Visits {
    /// Of records that were read lately: hashes of their keys.
    lately: [AtomicU64; Self::LATELY],
    /// Of records that were read and are not among them, since the last time.
    bytes: AtomicUsize,
}

const ACCESSES_TO_SETTLE: usize = 64;

impl Visits {
    const LATELY: usize = 8_192;
    /// About as much as a page has.
    const SETTLE_BYTES: usize = 32 << 10;

    fn is_settling_due(&self, key: &[u8], length: usize) -> bool {
        let mut hasher = std::hash::DefaultHasher::new();
        key.hash(&mut hasher);
        let hash = hasher.finish();
        let place = &self.lately[hash as usize % Self::LATELY];
        if place.swap(hash, Ordering::Relaxed) == hash {
            return false;
        }
        let is_due = self.bytes.fetch_add(length, Ordering::Relaxed) + length >= Self::SETTLE_BYTES;
        if is_due {
            self.bytes.store(0, Ordering::Relaxed);
        }
        is_due
    }
}

impl Default for Visits {
    fn default() -> Self {
        Self { lately: [const { AtomicU64::new(0) }; Self::LATELY], bytes: AtomicUsize::new(0) }
    }
}

impl SledStorage {
    /// Opens or makes the database in `path`; `cache` bounds sled's page cache in bytes.
    pub fn open(path: &Path, cache: u64) -> Result<Self> {
        let config = sled::Config::new().path(path).cache_capacity(cache).segment_size(SEGMENT).flush_every_ms(None);
        let started = Instant::now();
        let database = loop {
            match config.open() {
                Ok(database) => break database,
                // Worded by sled, as an error of no kind of its own.
                Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                    if started.elapsed() > OPEN_PATIENCE {
                        return Err(Error::InUse { path: path.to_owned() });
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(source) => return Err(Error::Engine { path: path.to_owned(), source }),
            }
        };
        let file_path = path.join("db");
        let file =
            File::open(&file_path).map_err(|source| Error::File { what: "open", path: file_path.clone(), source })?;
        let reader = Reader { path: path.to_owned(), database, visits: Arc::default() };
        let storage = Self { reader, file, blobs: path.join("blobs") };
        // The file itself must survive a power loss too, not only what is in it.
        storage.sync()?;
        for directory in [path, path.parent().unwrap_or(path)] {
            File::open(directory).and_then(|directory| directory.sync_all()).map_err(|source| Error::File {
                what: "sync",
                path: directory.to_owned(),
                source,
            })?;
        }
        Ok(storage)
    }

    fn sync_blobs(&self) -> Result<()> {
        let failed = |source| Error::File { what: "sync", path: self.blobs.clone(), source };
        let mut any = false;
        let Ok(files) = std::fs::read_dir(&self.blobs) else { return Ok(()) };
        for file in files {
            let path = file.map_err(failed)?.path();
            // sled may remove one meanwhile.
            let Ok(file) = File::open(&path) else { continue };
            file.sync_all().map_err(failed)?;
            any = true;
        }
        if any {
            File::open(&self.blobs).and_then(|directory| directory.sync_all()).map_err(failed)?;
        }
        Ok(())
    }
}

impl Storage for SledStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let head = self.reader.database.get(key).map_err(|error| self.reader.failed(error))?;
        head.map(|head| self.reader.assemble(key, head)).transpose()
    }

    fn scan(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Records {
        let reader = self.reader.clone();
        let bounds = (start.map(<[u8]>::to_vec), end.map(<[u8]>::to_vec));
        Box::new(self.reader.database.range::<Vec<u8>, _>(bounds).filter_map(move |record| {
            let (key, head) = match record {
                Ok(record) => record,
                Err(error) => return Some(Err(reader.failed(error))),
            };
            if head.first() == Some(&IS_PART) {
                return None;
            }
            Some(reader.assemble(&key, head).map(|value| (Bytes::from_owner(key), value)))
        }))
    }

    fn write(&self, batch: Batch) -> Result<()> {
        let mut changes = sled::Batch::default();
        let count = batch.len();
        for (key, value) in batch.changes {
            let Some(value) = value else {
                for part in 1..=self.reader.parts_of(&key)? {
                    changes.remove(Reader::part_key(&key, part));
                }
                changes.remove(key);
                continue;
            };
            let following = value.len().saturating_sub(1) / PART;
            if following > MAX_PARTS {
                return Err(self.reader.damaged("a value is larger than any request may be"));
            }
            let (first, rest) = value.split_at(value.len().min(PART));
            for (part, bytes) in rest.chunks(PART).enumerate() {
                changes.insert(Reader::part_key(&key, part + 1), marked(&[IS_PART], bytes));
            }
            let [high, low] = (following as u16).to_be_bytes();
            let mark: &[u8] = if following == 0 { &[WHOLE] } else { &[IS_HEAD, high, low] };
            changes.insert(key, marked(mark, first));
        }
        self.reader.database.apply_batch(changes).map_err(|error| self.reader.failed(error))?;
        free_replaced(count);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.reader.database.flush().map_err(|error| self.reader.failed(error))?;
        self.sync_blobs()?;
        let path = || self.reader.path.join("db");
        self.file.sync_data().map_err(|source| Error::File { what: "sync", path: path(), source })
    }

    fn size_on_disk(&self) -> Result<u64> {
        self.reader.database.size_on_disk().map_err(|error| self.reader.failed(error))
    }
}

impl Engine for SledStorage {
    fn floor(&self, key: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
        let found = self.reader.database.range(..=key).next_back();
        let Some((found, head)) = found.transpose().map_err(|error| self.reader.failed(error))? else {
            return Ok(None);
        };
        if head.first() == Some(&IS_PART) {
            // The last part of the record that is looked for.
            let key = found.get(..found.len().saturating_sub(PART_KEY)).unwrap_or_default();
            return Ok(self.get(key)?.map(|value| (Bytes::copy_from_slice(key), value)));
        }
        let value = self.reader.assemble(&found, head)?;
        Ok(Some((Bytes::from_owner(found), value)))
    }
}

/// Frees the pages that a batch of so many changes has replaced. sled leaves that to crossbeam-epoch, which takes a little
/// at every 128th operation of a thread: a thread of few and large batches would free less than it replaces, for ever.
fn free_replaced(changes: usize) {
    const CHANGES_PER_STEP: usize = 8;
    for _ in 0..=changes / CHANGES_PER_STEP {
        crossbeam_epoch::pin().flush();
    }
}

fn marked(mark: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(mark.len() + bytes.len());
    stored.extend_from_slice(mark);
    stored.extend_from_slice(bytes);
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path) -> SledStorage {
        SledStorage::open(path, 4 << 20).expect("a database")
    }

    #[test]
    fn values_of_every_size_come_back_and_go_away_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = open(directory.path());
        let sizes = [0, 1, PART - 1, PART, PART + 1, 3 * PART, 300 * PART, 1_500_000];
        let value = |size: usize| Bytes::from((0..size).map(|at| at as u8).collect::<Vec<_>>());
        let mut batch = Batch::default();
        for (number, size) in sizes.into_iter().enumerate() {
            batch.put(vec![b'k', number as u8], value(size));
        }
        storage.write(batch).expect("written");
        storage.sync().expect("synced");
        drop(storage);

        let storage = open(directory.path());
        let found: Vec<_> =
            storage.scan(Bound::Unbounded, Bound::Unbounded).collect::<Result<_>>().expect("all readable");
        assert_eq!(found.len(), sizes.len());
        for (number, size) in sizes.into_iter().enumerate() {
            assert_eq!(found[number].1, value(size), "size {size}");
        }
        let mut batch = Batch::default();
        for number in 0..sizes.len() {
            batch.remove(vec![b'k', number as u8]);
        }
        storage.write(batch).expect("removed");
        assert_eq!(storage.reader.database.len(), 0, "no part is left behind");
    }

    #[test]
    fn no_item_becomes_a_blob_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = open(directory.path());
        for number in 0..40_u32 {
            let mut batch = Batch::default();
            batch.put(number.to_be_bytes(), vec![number as u8; 1_500_000]);
            storage.write(batch).expect("written");
        }
        storage.sync().expect("synced");
        let blobs = std::fs::read_dir(directory.path().join("blobs")).expect("listed").count();
        assert_eq!(blobs, 0);
    }
}
