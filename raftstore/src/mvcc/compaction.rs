//! The second half of a compaction: taking the history that nobody can ask for any more off the disk.
//!
//! A compaction's first half is one number in the state, and is the same on every member at the same point of the log.
//! The second half is each member's own. It walks the revisions between the last compaction and this one: each of them
//! replaced what its key was before, so exactly these keys have something to forget. It goes in small steps, and after a
//! crash it goes on where it was.

use std::collections::BTreeSet;

use bytes::Bytes;
use keelson_wire::mvccpb::KeyValue;
use prost::Message as _;

use super::{Key, Revision, State, state_records};
use crate::disk::{Batch, Result, Storage};

/// How far the history is gone, and how far it shall go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    pub done: i64,
    pub target: i64,
}

/// One step's work: these keys, and then the walk goes on behind this revision.
pub struct Step {
    pub keys: BTreeSet<Bytes>,
    pub reached: i64,
}

impl Compaction {
    /// What is left to do on this disk.
    pub fn pending(state: &State) -> Result<Self> {
        let done = state.storage.get(&Key::Compacted.encode())?;
        let done = done.and_then(|done| Some(i64::from_be_bytes(done.as_ref().try_into().ok()?))).unwrap_or(0);
        Ok(Self { done, target: state.compacted })
    }

    pub fn is_done(&self) -> bool {
        self.done >= self.target
    }

    /// The keys that were changed by the next `limit` records. The revision that was done last is seen once more: a
    /// delete that was kept for it can go now.
    pub fn next_step(&self, storage: &dyn Storage, limit: usize) -> Result<Step> {
        let mut keys = BTreeSet::new();
        let mut reached = self.target;
        for (count, record) in state_records(storage, self.done, self.target).enumerate() {
            let (key, value) = record?;
            let Some(Key::Record(revision)) = Key::decode(&key) else { continue };
            if count >= limit && revision.main > self.done + 1 {
                // Not all of this revision was seen, so the next step begins with it.
                reached = revision.main - 1;
                break;
            }
            keys.insert(KeyValue::decode(value)?.key);
        }
        Ok(Step { keys, reached })
    }

    /// The bytes that were set free.
    pub fn remove(storage: &dyn Storage, gone: &[Revision], reached: i64) -> Result<u64> {
        let mut batch = Batch::default();
        let mut bytes = 0;
        for revision in gone {
            let key = Key::Record(*revision).encode();
            bytes += storage.get(&key)?.map_or(0, |record| record.len() as u64);
            batch.remove(key);
        }
        batch.put(Key::Compacted.encode(), reached.to_be_bytes().to_vec());
        storage.write(batch)?;
        Ok(bytes)
    }
}
