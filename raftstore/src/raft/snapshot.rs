//! A snapshot is a picture of the state: the index knows which records belong to it, the database has them.
//!
//! Taking one costs nothing but the state's sync, by which the log before it is no longer needed. One is only spelled
//! out, record by record, when it is sent to a member that is too far behind.

use std::sync::Arc;

use bytes::Bytes;
use keelson_wire::etcdserverpb::LeaseGrantRequest;
use keelson_wire::raft as wire;
use prost::Message as _;

use crate::disk::{self, NextState};
use crate::mvcc::{Key, State};

/// The layout of the records that are sent.
pub const FORMAT: u32 = 1;

/// What openraft hands around as a snapshot's data.
#[derive(Clone)]
pub enum SnapshotData {
    /// Of this member. While the pin lives no record of the picture leaves the disk.
    Picture { state: Box<State>, _pin: Pin },
    /// Received: a database that waits to be put in place.
    Received(NextState),
}

impl std::fmt::Debug for SnapshotData {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Picture { state, .. } => write!(formatter, "picture at revision {}", state.revision),
            Self::Received(_) => formatter.write_str("received"),
        }
    }
}

/// Holds up the removal of old records while it lives.
#[derive(Clone, Default)]
pub struct Pin(Arc<()>);

impl Pin {
    pub fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// All records of a picture, in a fixed order. Keys that were deleted keep their history until it is compacted.
pub fn records(state: &State) -> impl Iterator<Item = disk::Result<(Vec<u8>, Bytes)>> + '_ {
    let head =
        wire::StateHead { revision: state.revision, compacted: state.compacted, applied: state.position.applied };
    let mut small = vec![
        (Key::Head.encode(), Bytes::from(head.encode_to_vec())),
        (Key::Membership.encode(), state.position.membership.encode_to_vec().into()),
    ];
    for (id, lease) in &state.leases {
        let grant = LeaseGrantRequest { id: *id, ttl: lease.ttl };
        small.push((Key::Lease(*id).encode(), grant.encode_to_vec().into()));
    }
    for (member, alarm) in &state.alarms {
        small.push((Key::Alarm(*member, *alarm).encode(), Bytes::new()));
    }
    for (id, member) in &state.members {
        small.push((Key::Member(*id).encode(), member.encode_to_vec().into()));
    }
    let large = state.keys.into_order().flat_map(|indexed| indexed.revisions(state.revision)).filter_map(|revision| {
        let key = Key::Record(revision).encode();
        match state.storage.get(&key) {
            Ok(Some(record)) => Some(Ok((key, record))),
            // Compacted in the meantime, and already before this picture's compaction was done.
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        }
    });
    small.into_iter().map(Ok).chain(large)
}
