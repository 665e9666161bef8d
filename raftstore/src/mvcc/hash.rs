//! One number for all that a store has at a revision: equal on every member, or one of them is damaged.

use super::range::Error;
use super::{State, Values as _};
use crate::refusal::Refusal;

pub struct Hashed {
    pub hash: u32,
    pub compacted: i64,
    pub revision: i64,
}

/// The CRC-32 of the keys as they were at `revision` (0: now), with their values, versions and leases.
pub fn hash_kv(state: &State, revision: i64) -> Result<Hashed, Error> {
    let at = if revision <= 0 { state.revision } else { revision };
    if at > state.revision {
        return Err(Refusal::FutureRevision.into());
    }
    if at < state.compacted {
        return Err(Refusal::Compacted.into());
    }
    let mut hash = crc32fast::Hasher::new();
    hash.update(&state.compacted.to_be_bytes());
    for indexed in state.keys.in_order().iter() {
        let Some(seen) = indexed.at(at) else { continue };
        let Some(kv) = state.value(seen.revision)? else { return Err(Refusal::Compacted.into()) };
        let key = indexed.key();
        hash.update(&(key.len() as u64).to_be_bytes());
        hash.update(key);
        for number in [kv.create_revision, kv.mod_revision, kv.version, kv.lease] {
            hash.update(&number.to_be_bytes());
        }
        hash.update(&kv.value);
    }
    if state.keys.is_trimmed_beyond(at) {
        return Err(Refusal::Compacted.into());
    }
    Ok(Hashed { hash: hash.finalize(), compacted: state.compacted, revision: at })
}
