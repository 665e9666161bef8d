//! Databases in memory that crash as the real ones do: what was not synced is there afterwards up to some batch.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::bundles::{Bundled, Engine};
use super::{Batch, NextState, Records, Result, States, Storage};

type Content = BTreeMap<Vec<u8>, Bytes>;

#[derive(Default)]
pub struct MemoryStorage(Mutex<Database>);

#[derive(Default)]
struct Database {
    present: Content,
    certain: Content,
    uncertain: Vec<Batch>,
}

fn apply(content: &mut Content, batch: &Batch) {
    for (key, value) in &batch.changes {
        match value {
            Some(value) => drop(content.insert(key.clone(), value.clone())),
            None => drop(content.remove(key)),
        }
    }
}

impl MemoryStorage {
    /// The database after a crash.
    fn survived(&self, random: &mut StdRng) -> Self {
        let database = self.0.lock();
        let mut certain = database.certain.clone();
        let kept = random.random_range(0..=database.uncertain.len());
        database.uncertain.iter().take(kept).for_each(|batch| apply(&mut certain, batch));
        Self(Mutex::new(Database { present: certain.clone(), certain, uncertain: Vec::new() }))
    }
}

impl Storage for MemoryStorage {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.lock().present.get(key).cloned())
    }

    fn scan(&self, start: Bound<&[u8]>, end: Bound<&[u8]>) -> Records {
        let database = self.0.lock();
        let found = database.present.range::<[u8], _>((start, end));
        let found: Vec<_> = found.map(|(key, value)| Ok((key.clone().into(), value.clone()))).collect();
        Box::new(found.into_iter())
    }

    fn write(&self, batch: Batch) -> Result<()> {
        let mut database = self.0.lock();
        apply(&mut database.present, &batch);
        database.uncertain.push(batch);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        let Database { certain, uncertain, .. } = &mut *self.0.lock();
        uncertain.drain(..).for_each(|batch| apply(certain, &batch));
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64> {
        Ok(self.0.lock().present.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum())
    }
}

impl Engine for MemoryStorage {
    fn floor(&self, key: &[u8]) -> Result<Option<(Bytes, Bytes)>> {
        let database = self.0.lock();
        let found = database.present.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        Ok(found.map(|(key, value)| (key.clone().into(), value.clone())))
    }
}

type State = Bundled<MemoryStorage>;

/// As a data directory has them. Clones are the same place.
#[derive(Clone)]
pub struct MemoryStates(Arc<Mutex<Places>>);

struct Places {
    used: Arc<State>,
    begun: BTreeMap<u64, Arc<State>>,
    kept: Option<u64>,
    newest: u64,
}

fn opened(storage: MemoryStorage) -> Arc<State> {
    Arc::new(Bundled::new(storage).expect("memory can be read"))
}

impl Default for MemoryStates {
    fn default() -> Self {
        let used = opened(MemoryStorage::default());
        Self(Arc::new(Mutex::new(Places { used, begun: BTreeMap::new(), kept: None, newest: 0 })))
    }
}

impl MemoryStates {
    pub fn crash(&self, random: &mut StdRng) {
        let mut places = self.0.lock();
        places.used = opened(places.used.inner.survived(random));
        let kept = places.kept.and_then(|kept| Some((kept, places.begun.remove(&kept)?)));
        places.begun = kept.map(|(kept, state)| (kept, opened(state.inner.survived(random)))).into_iter().collect();
    }
}

impl States for MemoryStates {
    fn open(&self) -> Result<Arc<dyn Storage>> {
        Ok(self.0.lock().used.clone())
    }

    fn begin(&mut self) -> Result<NextState> {
        let mut places = self.0.lock();
        places.newest += 1;
        let (number, storage) = (places.newest, opened(MemoryStorage::default()));
        places.begun.insert(number, storage.clone());
        Ok(NextState::new(number, storage, None))
    }

    fn adopt(&mut self, next: &NextState) -> Result<()> {
        let mut places = self.0.lock();
        // An adopted place that is gone is a directory that is not there: it reads as an empty database.
        places.used = places.begun.remove(&next.number).unwrap_or_else(|| opened(MemoryStorage::default()));
        places.kept.take_if(|kept| *kept == next.number);
        Ok(())
    }

    fn keep(&mut self, next: &NextState) -> Result<()> {
        self.0.lock().kept = Some(next.number);
        Ok(())
    }

    fn take_kept(&mut self) -> Result<Option<NextState>> {
        let mut places = self.0.lock();
        let kept = places.kept.take().and_then(|kept| Some((kept, places.begun.get(&kept)?.clone())));
        Ok(kept.map(|(number, storage)| NextState::new(number, storage, None)))
    }
}
