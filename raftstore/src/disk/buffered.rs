//! A database behind a buffer in memory: writes are made in large batches, by a thread of their own.
//!
//! What is written is visible at once and goes to the database within [`DELAY`], or before the buffer holds more than it
//! may. Batches keep their order and are never parted, so a crash leaves the database as it was after one of them; the log
//! has the rest. sled writes to its file and wakes a pool of threads for each batch that it is given, however small it is.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::{Batch, Error, Records, Result, Storage};

/// How long a change waits at most, so that little must be applied again after a crash.
const DELAY: Duration = Duration::from_millis(100);
/// Bytes at which a buffer is written without delay. Of a megabyte that took up to a tick of the scheduler, for which whoever was
/// woken on that core waited: the log's thread, or a client.
const FULL: usize = 256 << 10;
/// Bytes at which a writer waits for the thread: memory has a bound.
const TOO_FULL: usize = 8 << 20;

type Changes = BTreeMap<Vec<u8>, Option<Bytes>>;

pub struct Buffered<Inner> {
    shared: Arc<Shared<Inner>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<Inner> {
    inner: Inner,
    buffers: Mutex<Buffers>,
    /// There is something to do for the thread.
    work: Condvar,
    /// The thread has done something.
    progress: Condvar,
}

#[derive(Default)]
struct Buffers {
    open: Changes,
    open_bytes: usize,
    /// Since when the oldest change in `open` waits.
    since: Option<Instant>,
    /// The thread has nothing to do, and does not look by itself.
    is_asleep: bool,
    /// What the thread is writing now.
    leaving: Arc<Changes>,
    /// Somebody waits for all of it.
    hurry: bool,
    ended: bool,
    /// Changes may be missing in the database: nothing may be written behind them.
    failed: Option<String>,
}

impl Buffers {
    fn is_due(&self) -> bool {
        self.ended || self.hurry || self.open_bytes >= FULL || self.since.is_some_and(|since| since.elapsed() >= DELAY)
    }

    /// The change to this key, if one is on its way.
    fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        self.open.get(key).or_else(|| self.leaving.get(key)).cloned()
    }

    fn failure(&self) -> Result<()> {
        match &self.failed {
            Some(cause) => Err(Error::Buffer { cause: cause.clone() }),
            None => Ok(()),
        }
    }
}

impl<Inner: Storage> Buffered<Inner> {
    pub fn new(inner: Inner) -> Result<Self> {
        let shared =
            Arc::new(Shared { inner, buffers: Mutex::default(), work: Condvar::new(), progress: Condvar::new() });
        let worker = shared.clone();
        let spawned = std::thread::Builder::new().name("state-writer".to_owned()).spawn(move || worker.run());
        let thread =
            spawned.map_err(|source| Error::File { what: "start the writer of", path: "state".into(), source })?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl<Inner: Storage> Shared<Inner> {
    fn run(&self) {
        let mut buffers = self.buffers.lock();
        let mut is_busy = false;
        loop {
            while !buffers.is_due() {
                match buffers.since {
                    Some(since) => drop(self.work.wait_until(&mut buffers, since + DELAY)),
                    // While there are writes, the next one need not wake it.
                    None if is_busy => is_busy = !self.work.wait_for(&mut buffers, DELAY).timed_out(),
                    None => {
                        buffers.is_asleep = true;
                        self.work.wait(&mut buffers);
                        buffers.is_asleep = false;
                    }
                }
            }
            is_busy = true;
            if buffers.open.is_empty() {
                buffers.hurry = false;
                self.progress.notify_all();
                if buffers.ended {
                    return;
                }
                continue;
            }
            self.write_out(&mut buffers);
        }
    }

    /// Writes what is open, in one batch, while others go on.
    fn write_out(&self, buffers: &mut MutexGuard<'_, Buffers>) {
        let changes = Arc::new(std::mem::take(&mut buffers.open));
        buffers.leaving = changes.clone();
        (buffers.open_bytes, buffers.since) = (0, None);
        // Whoever found the buffer too full has room now, not only when the disk has all of it.
        self.progress.notify_all();
        let outcome = MutexGuard::unlocked(buffers, || {
            let mut batch = Batch::default();
            for (key, value) in changes.iter() {
                match value {
                    Some(value) => batch.put(key.clone(), value.clone()),
                    None => batch.remove(key.clone()),
                }
            }
            self.inner.write(batch)
        });
        match outcome {
            Ok(()) => buffers.leaving = Arc::default(),
            Err(error) => {
                tracing::error!(%error, "the state cannot be written");
                buffers.failed.get_or_insert_with(|| error.to_string());
            }
        }
        self.progress.notify_all();
        // To free thousands of changes takes as long as a disk, and nobody shall wait for it.
        MutexGuard::unlocked(buffers, || drop(changes));
    }
}

impl<Inner: Storage> Storage for Buffered<Inner> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let buffered = self.shared.buffers.lock().get(key);
        match buffered {
            Some(value) => Ok(value),
            None => self.shared.inner.get(key),
        }
    }

    fn scan(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Records {
        let changes: Changes = {
            let buffers = self.shared.buffers.lock();
            let of = |changes: &Changes| -> Changes {
                let found = changes.range::<[u8], _>((start, end));
                found.map(|(key, value)| (key.clone(), value.clone())).collect()
            };
            let mut changes = of(&buffers.leaving);
            changes.extend(of(&buffers.open));
            changes
        };
        Box::new(Merged { written: self.shared.inner.scan(start, end).peekable(), changes })
    }

    fn write(&self, batch: Batch) -> Result<()> {
        let mut buffers = self.shared.buffers.lock();
        buffers.failure()?;
        while buffers.open_bytes >= TOO_FULL {
            self.shared.progress.wait(&mut buffers);
            buffers.failure()?;
        }
        for (key, value) in batch.changes {
            buffers.open_bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            buffers.open.insert(key, value);
        }
        buffers.since.get_or_insert_with(Instant::now);
        if buffers.is_asleep || buffers.open_bytes >= FULL {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        {
            let mut buffers = self.shared.buffers.lock();
            buffers.hurry = true;
            self.shared.work.notify_one();
            while buffers.hurry && buffers.failed.is_none() {
                self.shared.progress.wait(&mut buffers);
            }
            buffers.failure()?;
        }
        self.shared.inner.sync()
    }

    fn size_on_disk(&self) -> Result<u64> {
        self.shared.inner.size_on_disk()
    }
}

impl<Inner> Drop for Buffered<Inner> {
    fn drop(&mut self) {
        self.shared.buffers.lock().ended = true;
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the state's writer panicked");
        }
    }
}

/// The database's records with the changes that were on their way when the scan began.
struct Merged {
    written: std::iter::Peekable<Records>,
    changes: Changes,
}

impl Iterator for Merged {
    type Item = Result<(Bytes, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let change_is_next = match (self.written.peek(), self.changes.first_key_value()) {
                (_, None) | (Some(Err(_)), _) => return self.written.next(),
                (None, Some(_)) => true,
                (Some(Ok((key, _))), Some((changed, _))) => {
                    if key.as_ref() == changed.as_slice() {
                        // Overwritten or removed.
                        self.written.next();
                        continue;
                    }
                    changed.as_slice() < key.as_ref()
                }
            };
            if !change_is_next {
                return self.written.next();
            }
            if let Some((key, Some(value))) = self.changes.pop_first() {
                return Some(Ok((key.into(), value)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A database whose writes can be held up or fail.
    #[derive(Default)]
    struct Slow {
        records: Mutex<BTreeMap<Vec<u8>, Bytes>>,
        gate: Arc<Mutex<()>>,
        fails: AtomicBool,
    }

    impl Storage for Slow {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
            Ok(self.records.lock().get(key).cloned())
        }

        fn scan(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Records {
            let records = self.records.lock();
            let found = records.range::<[u8], _>((start, end));
            let found: Vec<_> = found.map(|(key, value)| Ok((key.clone().into(), value.clone()))).collect();
            Box::new(found.into_iter())
        }

        fn write(&self, batch: Batch) -> Result<()> {
            let _open = self.gate.lock();
            if self.fails.load(Ordering::Relaxed) {
                return Err(Error::Buffer { cause: "no".to_owned() });
            }
            let mut records = self.records.lock();
            for (key, value) in batch.changes {
                match value {
                    Some(value) => drop(records.insert(key, value)),
                    None => drop(records.remove(&key)),
                }
            }
            Ok(())
        }

        fn sync(&self) -> Result<()> {
            Ok(())
        }

        fn size_on_disk(&self) -> Result<u64> {
            Ok(0)
        }
    }

    fn batch(puts: &[(&str, &str)], removes: &[&str]) -> Batch {
        let mut batch = Batch::default();
        puts.iter().for_each(|(key, value)| batch.put(key.as_bytes(), Bytes::copy_from_slice(value.as_bytes())));
        removes.iter().for_each(|key| batch.remove(key.as_bytes()));
        batch
    }

    fn all(storage: &dyn Storage) -> Vec<String> {
        let records = storage.scan(Bound::Unbounded, Bound::Unbounded);
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        records.map(|record| record.expect("a record")).map(|(key, value)| text(&key) + &text(&value)).collect()
    }

    #[test]
    fn what_is_written_is_seen_wherever_it_is() {
        let slow = Slow::default();
        let gate = slow.gate.clone();
        let storage = Buffered::new(slow).expect("a buffer");
        storage.write(batch(&[("a", "1"), ("b", "1"), ("c", "1"), ("e", "1")], &[])).expect("written");
        storage.sync().expect("synced");
        let held = gate.lock();
        storage.write(batch(&[("b", "2"), ("d", "2")], &["a"])).expect("written");
        // Half of the time this is still open, half of the time it is leaving: it is the same to a reader.
        storage.write(batch(&[("d", "3")], &["c"])).expect("written");
        assert_eq!(all(&storage), ["b2", "d3", "e1"]);
        assert_eq!(storage.get(b"a").expect("read"), None);
        assert_eq!(storage.get(b"d").expect("read").as_deref(), Some(&b"3"[..]));
        let found: Vec<_> = storage.scan(Bound::Excluded(b"b"), Bound::Included(b"d")).collect();
        assert_eq!(found.len(), 1);
        drop(held);
        storage.sync().expect("synced");
        assert_eq!(all(&storage), ["b2", "d3", "e1"]);
        assert_eq!(all(&storage.shared.inner), ["b2", "d3", "e1"]);
    }

    #[test]
    fn a_write_arrives_whether_the_thread_sleeps_or_not() {
        let storage = Buffered::new(Slow::default()).expect("a buffer");
        let arrives = |value: &str| {
            storage.write(batch(&[("a", value)], &[])).expect("written");
            while storage.shared.inner.get(b"a").expect("read").as_deref() != Some(value.as_bytes()) {
                std::thread::yield_now();
            }
        };
        let is_asleep = || storage.shared.buffers.lock().is_asleep;
        for round in 0..2 {
            while !is_asleep() {
                std::thread::yield_now();
            }
            arrives(&format!("{round} asleep"));
            // It has just written, and most likely looks for more by itself.
            arrives(&format!("{round} awake"));
        }
    }

    #[test]
    fn a_full_buffer_holds_up_its_writer() {
        let slow = Slow::default();
        let gate = slow.gate.clone();
        let storage = Arc::new(Buffered::new(slow).expect("a buffer"));
        let held = gate.lock();
        let writer = storage.clone();
        let writing = std::thread::spawn(move || {
            for number in 0..40_u8 {
                let mut batch = Batch::default();
                batch.put([number], vec![0; 1 << 20]);
                writer.write(batch).expect("written");
            }
        });
        while storage.shared.buffers.lock().open_bytes < TOO_FULL {
            std::thread::yield_now();
        }
        assert!(!writing.is_finished(), "it waits");
        drop(held);
        writing.join().expect("it goes on");
        storage.sync().expect("synced");
        assert_eq!(storage.shared.inner.records.lock().len(), 40);
    }

    #[test]
    fn nothing_is_written_behind_a_failure() {
        let slow = Slow::default();
        slow.fails.store(true, Ordering::Relaxed);
        let storage = Buffered::new(slow).expect("a buffer");
        storage.write(batch(&[("a", "1")], &[])).expect("taken");
        assert!(storage.sync().is_err());
        assert!(storage.write(batch(&[("b", "1")], &[])).is_err());
        assert!(storage.sync().is_err());
        assert_eq!(storage.get(b"a").expect("read").as_deref(), Some(&b"1"[..]), "readers keep what they had");
    }
}
