//! sled behind [`Storage`].
//!
//! sled 0.34's `flush` ends in `sync_file_range`, which is no barrier against power loss. So each database keeps a
//! descriptor of its own on sled's one file, and `sync` is sled's flush followed by `fdatasync` on it.
//!
//! sled moves items that are larger than a quarter of a segment into blob files, which it never syncs. An item is a whole
//! leaf of up to 17 records, so values are cut into parts of [`PART`] bytes: a leaf then stays inside its segment.
//! Should a blob file appear all the same, `sync` syncs it too.

use std::fs::File;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::{Batch, Error, Records, Result, Storage};

const SEGMENT: usize = 2 << 20;
/// 17 parts and their keys are less than a quarter of a segment.
const PART: usize = 28 << 10;
/// The first byte of each stored value: how many parts follow this one, or that it is such a part.
const WHOLE: u8 = 0;
const IS_PART: u8 = 255;
const MAX_PARTS: usize = 254;
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
}

impl Reader {
    fn failed(&self, source: sled::Error) -> Error {
        Error::Engine { path: self.path.clone(), source }
    }

    fn part_key(key: &[u8], part: usize) -> Vec<u8> {
        let mut part_key = Vec::with_capacity(key.len() + 2);
        part_key.extend_from_slice(key);
        part_key.extend_from_slice(&[IS_PART, part as u8]);
        part_key
    }

    /// The whole value that begins with `head`.
    fn assemble(&self, key: &[u8], head: sled::IVec) -> Result<Bytes> {
        let parts = *head.first().ok_or(self.damaged("an empty value"))?;
        let head = Bytes::from_owner(head).slice(1..);
        if parts == WHOLE {
            return Ok(head);
        }
        let mut value = BytesMut::with_capacity((usize::from(parts) + 1) * PART);
        value.extend_from_slice(&head);
        for part in 1..=usize::from(parts) {
            let found = self.database.get(Self::part_key(key, part)).map_err(|error| self.failed(error))?;
            let found = found.ok_or(self.damaged("a value lacks a part"))?;
            value.extend_from_slice(found.get(1..).ok_or(self.damaged("an empty part"))?);
        }
        Ok(value.freeze())
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::Damaged { path: self.path.clone(), what }
    }

    fn parts_of(&self, key: &[u8]) -> Result<u8> {
        let head = self.database.get(key).map_err(|error| self.failed(error))?;
        Ok(head.and_then(|head| head.first().copied()).unwrap_or(WHOLE))
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
        let reader = Reader { path: path.to_owned(), database };
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
                for part in 1..=usize::from(self.reader.parts_of(&key)?) {
                    changes.remove(Reader::part_key(&key, part));
                }
                changes.remove(key);
                continue;
            };
            let following = value.len().saturating_sub(1) / PART;
            if following > MAX_PARTS {
                return Err(self.reader.damaged("a value is larger than any request may be"));
            }
            for (part, bytes) in value.chunks(PART).enumerate().skip(1) {
                changes.insert(Reader::part_key(&key, part), marked(IS_PART, bytes));
            }
            changes.insert(key, marked(following as u8, &value[..value.len().min(PART)]));
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

/// Frees the pages that a batch of so many changes has replaced. sled leaves that to crossbeam-epoch, which takes a little
/// at every 128th operation of a thread: a thread of few and large batches would free less than it replaces, for ever.
fn free_replaced(changes: usize) {
    const CHANGES_PER_STEP: usize = 64;
    for _ in 0..=changes / CHANGES_PER_STEP {
        crossbeam_epoch::pin().flush();
    }
}

fn marked(mark: u8, bytes: &[u8]) -> Vec<u8> {
    let mut stored = Vec::with_capacity(bytes.len() + 1);
    stored.push(mark);
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
        let sizes = [0, 1, PART - 1, PART, PART + 1, 3 * PART, 1_500_000];
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
