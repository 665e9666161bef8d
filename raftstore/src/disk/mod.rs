//! What the store asks of a disk: ordered records, atomic batches, one durability barrier.
//!
//! The replicated state is a database behind this trait. A batch is all there or not at all after a crash; it is on the
//! disk for certain only after [`Storage::sync`] has returned. The engine is sled and stays behind this door. The log is
//! no database: see [`journal`](crate::journal).

mod buffered;
mod bundles;
mod directory;
#[cfg(test)]
pub(crate) mod memory;
mod sled_storage;
mod write_through;

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

pub use buffered::Buffered;
pub use bundles::Bundled;
pub use directory::{DataDirectory, Identity, StateDirectory, free_space};
pub use sled_storage::SledStorage;

/// What a disk could not do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the database in {path} failed: {source}; if the disk is full, free space and restart")]
    Engine { path: PathBuf, source: sled::Error },
    #[error("cannot {what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("{path} holds {found}, which this version cannot read: {advice}")]
    Foreign { path: PathBuf, found: String, advice: &'static str },
    #[error("a record in {path} is damaged ({what}): restore this member from the others or from a snapshot")]
    Damaged { path: PathBuf, what: &'static str },
    #[error("the state cannot be written: {cause}")]
    Buffer { cause: String },
    #[error("a record cannot be decoded: {0}; restore this member from the others or from a snapshot")]
    Record(#[from] prost::DecodeError),
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// Changes that are made together.
#[derive(Default)]
pub struct Batch {
    changes: Vec<(Vec<u8>, Option<Bytes>)>,
}

impl Batch {
    pub fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Bytes>) {
        self.changes.push((key.into(), Some(value.into())));
    }

    pub fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.changes.push((key.into(), None));
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    pub fn len(&self) -> usize {
        self.changes.len()
    }
}

pub type Records = Box<dyn Iterator<Item = Result<(Bytes, Bytes)>> + Send>;

/// One database. Keys of one kind have one length: no key may be the beginning of another.
pub trait Storage: Send + Sync + 'static {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>>;

    /// The records from `start` on and before `end`, in the order of their keys.
    fn scan(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Records;

    /// Makes the changes visible, all in one; durable with the next [`sync`](Self::sync).
    fn write(&self, batch: Batch) -> Result<()>;

    /// Returns when all that was written before is on the disk.
    fn sync(&self) -> Result<()>;

    fn size_on_disk(&self) -> Result<u64>;
}

/// The databases of the replicated state: the one in use, and one that may take its place.
pub trait States: Send {
    fn open(&self) -> Result<Arc<dyn Storage>>;

    /// An empty database beside the one in use, to be filled and then adopted. It is nobody else's: others may be filled
    /// at the same time.
    fn begin(&mut self) -> Result<NextState>;

    /// From now on this one is the one in use. It must have been synced.
    fn adopt(&mut self, next: &NextState) -> Result<()>;

    /// From now on this one is left behind when the process ends, however it ends, until it is adopted or
    /// [let go](NextState::let_go), or another one is kept.
    fn keep(&mut self, next: &NextState) -> Result<()>;

    /// The one that an earlier process kept, once: as if it had just been begun. Nobody knows what is in it.
    fn take_kept(&mut self) -> Result<Option<NextState>>;
}

/// A database that may take the place of the one in use. One that is dropped before it was adopted leaves nothing behind,
/// unless it is [kept](States::keep).
#[derive(Clone)]
pub struct NextState {
    number: u64,
    pub storage: Arc<dyn Storage>,
    leftover: Option<Arc<Leftover>>,
}

/// The directory of a state that nobody has adopted yet.
struct Leftover {
    path: PathBuf,
    is_kept: AtomicBool,
}

impl NextState {
    /// In a directory, if it is not in memory.
    fn new(number: u64, storage: Arc<dyn Storage>, path: Option<PathBuf>) -> Self {
        let leftover = path.map(|path| Arc::new(Leftover { path, is_kept: AtomicBool::new(false) }));
        Self { number, storage, leftover }
    }

    fn stay(&self) {
        self.set_kept(true);
    }

    /// It is kept no more.
    pub fn let_go(&self) {
        self.set_kept(false);
    }

    fn set_kept(&self, is_kept: bool) {
        if let Some(leftover) = &self.leftover {
            leftover.is_kept.store(is_kept, Ordering::Release);
        }
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            directory::remove_state(&self.path);
        }
    }
}
