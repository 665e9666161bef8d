//! The picture of a database: read whole at the start, and filled from a snapshot's records.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use keelson_wire::etcdserverpb::LeaseGrantRequest;
use keelson_wire::mvccpb::KeyValue;
use keelson_wire::raft as wire;
use prost::Message as _;

use super::{Key, KeyHistory, Lease, Newest, State};
use crate::disk::{Error, Result, Storage};

impl State {
    /// Reads the database once from its beginning to its end.
    pub fn load(storage: Arc<dyn Storage>) -> Result<Self> {
        let mut state = Self::empty(storage.clone());
        let mut keys: BTreeMap<Bytes, KeyHistory> = BTreeMap::new();
        for record in storage.scan(Bound::Unbounded, Bound::Unbounded) {
            let (key, value) = record?;
            match Key::decode(&key) {
                Some(Key::Record(revision)) => {
                    state.live_bytes += value.len() as u64;
                    let kv = KeyValue::decode(value)?;
                    let newest = Newest { revision, create: kv.create_revision, version: kv.version, lease: kv.lease };
                    match keys.get_mut(&kv.key) {
                        Some(history) => history.push(newest),
                        None => drop(keys.insert(Bytes::copy_from_slice(&kv.key), KeyHistory::new(newest))),
                    }
                }
                Some(Key::Lease(id)) => {
                    let ttl = LeaseGrantRequest::decode(value)?.ttl;
                    state.leases.insert(id, Lease { ttl, ..Default::default() });
                }
                Some(Key::Alarm(member, alarm)) => {
                    state.alarms.insert((member, alarm));
                }
                Some(Key::Member(id)) => {
                    state.members.insert(id, Arc::new(wire::MemberAttributes::decode(value)?));
                }
                Some(Key::Head) => {
                    let head = wire::StateHead::decode(value)?;
                    state.revision = head.revision;
                    state.compacted = head.compacted;
                    state.position.applied = head.applied;
                }
                Some(Key::Membership) => {
                    state.position.membership = Arc::new(wire::StoredMembership::decode(value)?);
                }
                Some(Key::Compacted) => {}
                Some(Key::Receipt) => {
                    return Err(Error::Damaged {
                        path: "state".into(),
                        what: "a snapshot that was not received to its end",
                    });
                }
                None => tracing::warn!(?key, "a record of an unknown kind"),
            }
        }
        state.keys = keys.into_iter().collect();
        state.attach_keys();
        Ok(state)
    }

    /// Which keys hang on which lease is not kept: each key's newest revision says it.
    fn attach_keys(&mut self) {
        for indexed in self.keys.in_order().iter() {
            let lease = indexed.newest().lease;
            if lease != 0
                && let Some(lease) = self.leases.get_mut(&lease)
            {
                lease.keys.insert(indexed.key().clone());
            }
        }
    }
}
