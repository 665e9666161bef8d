//! One picture of the replicated state.

use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};
use keelson_wire::mvccpb::KeyValue;
use keelson_wire::raft as wire;
use prost::Message as _;

use super::{Key, KeyIndex, Revision};
use crate::disk::{self, Storage};

/// Immutable and cheap to clone: the maps are shared between pictures. What the index tells of a key it tells for a
/// revision, which must not be after the picture's.
#[derive(Clone)]
pub struct State {
    pub keys: KeyIndex,
    pub revision: i64,
    /// Reads and watches of revisions before this one are refused.
    pub compacted: i64,
    pub leases: OrdMap<i64, Lease>,
    /// Member and kind of each raised alarm.
    pub alarms: OrdSet<(u64, i32)>,
    pub members: OrdMap<u64, Arc<wire::MemberAttributes>>,
    pub position: Position,
    /// Bytes of all revisions that are kept, keys and values.
    pub live_bytes: u64,
    pub storage: Arc<dyn Storage>,
}

/// How much of the log is in the state.
#[derive(Clone, Debug, Default)]
pub struct Position {
    pub applied: Option<wire::LogId>,
    pub membership: Arc<wire::StoredMembership>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Seconds, as granted.
    pub ttl: i64,
    /// The index that was applied before the grant. It tells this lease from one of the same id that ended: an id may be
    /// granted anew. 0 of all leases that were there when the state was loaded.
    pub granted: u64,
    pub keys: OrdSet<Bytes>,
}

/// What is looked at: up to which revision, and where the values of revisions are found.
pub trait Values {
    /// The last revision that is seen. The index may know of later ones.
    fn horizon(&self) -> i64;

    fn value(&self, revision: Revision) -> disk::Result<Option<KeyValue>>;
}

impl State {
    /// What an empty store is: like etcd's, its first revision is 1 and nothing was changed by it.
    pub fn empty(storage: Arc<dyn Storage>) -> Self {
        Self {
            keys: KeyIndex::default(),
            revision: 1,
            compacted: 0,
            leases: OrdMap::new(),
            alarms: OrdSet::new(),
            members: OrdMap::new(),
            position: Position::default(),
            live_bytes: 0,
            storage,
        }
    }

    pub fn applied_index(&self) -> u64 {
        self.position.applied.as_ref().map_or(0, |applied| applied.index)
    }

    /// Whether a compaction has taken something that this picture needs. Asked after the reading.
    pub fn is_overtaken(&self) -> bool {
        self.keys.is_trimmed_beyond(self.revision)
    }
}

impl Values for State {
    fn horizon(&self) -> i64 {
        self.revision
    }

    fn value(&self, revision: Revision) -> disk::Result<Option<KeyValue>> {
        let record = self.storage.get(&Key::Record(revision).encode())?;
        Ok(record.map(KeyValue::decode).transpose()?)
    }
}
