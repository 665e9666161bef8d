//! Applying committed commands: the one place where the state changes.
//!
//! A writer works on its own picture. [`Writer::finish`] writes what was changed since the last time as one batch and
//! hands out the new picture with the changes that watches want to see; until then nobody sees any of it.

use std::sync::Arc;

use bytes::Bytes;
use keelson_wire::etcdserverpb::alarm_request::AlarmAction;
use keelson_wire::etcdserverpb::request_op::Request;
use keelson_wire::etcdserverpb::response_op::Response;
use keelson_wire::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, CompactionResponse, DeleteRangeRequest,
    DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse, LeaseRevokeRequest, LeaseRevokeResponse, PutRequest,
    PutResponse, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
};
use keelson_wire::mvccpb::event::EventType;
use keelson_wire::mvccpb::{Event, KeyValue};
use keelson_wire::raft as wire;
use keelson_wire::raft::command::Change as Command;
use keelson_wire::raft::outcome::Result as Outcome;
use prost::Message as _;

use super::layout::EMPTY;
use super::range::{Error, range};
use super::txn::{Path, branch};
use super::{Key, KeyRange, Lease, Newest, Revision, State, Values};
use crate::disk::{self, Batch};
use crate::refusal::Refusal;

/// All changes of one revision, in their order.
#[derive(Debug)]
pub struct Change {
    pub revision: i64,
    pub events: Vec<ChangeEvent>,
}

/// One key's change. `event.prev_kv` is there if the writer was asked for it; `previous` says where it was.
#[derive(Clone, Debug)]
pub struct ChangeEvent {
    pub event: Event,
    pub previous: Option<Revision>,
}

/// What [`Writer::finish`] made visible.
pub struct Committed {
    pub state: State,
    pub changes: Vec<Arc<Change>>,
}

pub struct Writer {
    state: State,
    batch: Batch,
    /// Records that are in the batch and not yet in the database, in the order of their revisions.
    fresh: Vec<(Revision, KeyValue)>,
    changes: Vec<Arc<Change>>,
    /// Events carry the key's previous value.
    pub with_previous: bool,
}

/// One command's changes so far.
struct Transaction {
    main: i64,
    events: Vec<ChangeEvent>,
}

impl Transaction {
    fn next(&self) -> Revision {
        Revision { main: self.main, sub: self.events.len() as u32 }
    }
}

impl Values for Writer {
    /// A transaction sees what it has changed itself.
    fn horizon(&self) -> i64 {
        i64::MAX
    }

    fn value(&self, revision: Revision) -> disk::Result<Option<KeyValue>> {
        match self.fresh.binary_search_by_key(&revision, |(revision, _)| *revision) {
            Ok(place) => Ok(Some(self.fresh[place].1.clone())),
            Err(_) => self.state.value(revision),
        }
    }
}

impl Writer {
    pub fn new(state: State) -> Self {
        Self { state, batch: Batch::default(), fresh: Vec::new(), changes: Vec::new(), with_previous: false }
    }

    /// The picture with everything that was applied, also what is not yet visible.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Applies one command of the log. An error is one of the disk: this member cannot go on.
    pub fn apply(&mut self, command: &wire::Command) -> disk::Result<wire::Outcome> {
        let result = match command.change.as_ref() {
            Some(Command::Put(put)) => self.put_alone(put),
            Some(Command::DeleteRange(delete)) => self.delete_alone(delete),
            Some(Command::Txn(txn)) => self.txn(txn),
            Some(Command::Compaction(compaction)) => self.compaction(compaction),
            Some(Command::LeaseGrant(grant)) => self.lease_grant(grant),
            Some(Command::LeaseRevoke(revoke)) => self.lease_revoke(revoke),
            Some(Command::Alarm(alarm)) => Ok(self.alarm(alarm)),
            Some(Command::Member(member)) => Ok(self.member(member)),
            // A command of a later version: what it means is unknown here, and guessing would part the members.
            None => Ok(Outcome::Refusal(Refusal::Corrupt.into())),
        };
        let result = match result {
            Ok(result) => result,
            Err(Error::Refused(refusal)) => Outcome::Refusal(refusal.into()),
            Err(Error::Disk(error)) => return Err(error),
        };
        Ok(wire::Outcome { result: Some(result) })
    }

    pub fn applied(&mut self, log_id: wire::LogId) {
        self.state.position.applied = Some(log_id);
    }

    pub fn membership(&mut self, membership: wire::StoredMembership) {
        self.batch.put(Key::Membership.encode(), membership.encode_to_vec());
        self.state.position.membership = Arc::new(membership);
    }

    /// Writes what was applied since the last time and makes it visible.
    pub fn finish(&mut self) -> disk::Result<Committed> {
        let head = wire::StateHead {
            revision: self.state.revision,
            compacted: self.state.compacted,
            applied: self.state.position.applied,
        };
        self.batch.put(Key::Head.encode(), head.encode_to_vec());
        self.state.storage.write(std::mem::take(&mut self.batch))?;
        self.fresh.clear();
        Ok(Committed { state: self.state.clone(), changes: std::mem::take(&mut self.changes) })
    }

    /// Forgets what nobody can ask for any more, for these keys: the second half of a compaction, in small steps. What
    /// must go from the database is returned.
    pub fn trim(&mut self, keys: impl IntoIterator<Item = Bytes>, compacted: i64) -> Vec<Revision> {
        let mut all = Vec::new();
        for key in keys {
            all.extend(self.state.keys.trim(&key, compacted));
        }
        all
    }

    pub fn forget_bytes(&mut self, bytes: u64) {
        self.state.live_bytes = self.state.live_bytes.saturating_sub(bytes);
    }

    /// Another state takes the place of this one: a snapshot was installed.
    pub fn replace(&mut self, state: State) {
        self.state = state;
        self.batch = Batch::default();
        self.fresh.clear();
        self.changes.clear();
    }

    /// The key as it is now, if it is there.
    pub fn newest(&self, key: &[u8]) -> Option<Newest> {
        self.state.keys.get(key).map(|indexed| indexed.newest()).filter(Newest::is_alive)
    }

    fn begin(&self) -> Transaction {
        Transaction { main: self.state.revision + 1, events: Vec::new() }
    }

    /// A transaction that changed nothing leaves the revision as it is.
    fn commit(&mut self, transaction: Transaction) {
        if transaction.events.is_empty() {
            return;
        }
        self.state.revision = transaction.main;
        self.changes.push(Arc::new(Change { revision: transaction.main, events: transaction.events }));
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.state.revision, ..Default::default() })
    }

    fn put_alone(&mut self, put: &PutRequest) -> Result<Outcome, Error> {
        // Alone, the lease is looked for first; in a transaction, the key is: see `Path::check`.
        if put.lease != 0 && !self.state.leases.contains_key(&put.lease) {
            return Err(Refusal::LeaseNotFound.into());
        }
        if (put.ignore_value || put.ignore_lease) && self.newest(&put.key).is_none() {
            return Err(Refusal::KeyNotFound.into());
        }
        let mut transaction = self.begin();
        let mut response = self.put(&mut transaction, put)?;
        self.commit(transaction);
        response.header = self.header();
        Ok(Outcome::Put(response))
    }

    fn delete_alone(&mut self, delete: &DeleteRangeRequest) -> Result<Outcome, Error> {
        let mut transaction = self.begin();
        let mut response = self.delete_range(&mut transaction, delete)?;
        self.commit(transaction);
        response.header = self.header();
        Ok(Outcome::DeleteRange(response))
    }

    fn txn(&mut self, txn: &TxnRequest) -> Result<Outcome, Error> {
        let path = Path::choose(&self.state, self, txn)?;
        path.check(&self.state, self, txn)?;
        let mut transaction = self.begin();
        let mut response = self.follow(&mut transaction, txn, &path)?;
        self.commit(transaction);
        response.header = self.header();
        Ok(Outcome::Txn(response))
    }

    fn follow(&mut self, transaction: &mut Transaction, txn: &TxnRequest, path: &Path) -> Result<TxnResponse, Error> {
        let mut nested = path.nested.iter();
        let operations = branch(txn, path.succeeded);
        let mut responses = Vec::with_capacity(operations.len());
        for operation in operations {
            let response = match &operation.request {
                Some(Request::RequestRange(request)) => {
                    let mut response = range(&self.state, self, request)?;
                    response.header = Some(header_within(transaction));
                    Some(Response::ResponseRange(response))
                }
                Some(Request::RequestPut(put)) => Some(Response::ResponsePut(self.put(transaction, put)?)),
                Some(Request::RequestDeleteRange(delete)) => {
                    Some(Response::ResponseDeleteRange(self.delete_range(transaction, delete)?))
                }
                Some(Request::RequestTxn(txn)) => match nested.next() {
                    Some(path) => Some(Response::ResponseTxn(self.follow(transaction, txn, path)?)),
                    None => None,
                },
                None => None,
            };
            responses.push(ResponseOp { response });
        }
        // As in etcd, only the outermost header tells a revision, which the caller fills in.
        Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded: path.succeeded, responses })
    }

    fn put(&mut self, transaction: &mut Transaction, put: &PutRequest) -> Result<PutResponse, Error> {
        let indexed = self.state.keys.get(&put.key);
        let old = indexed.as_ref().map(|indexed| indexed.newest()).filter(Newest::is_alive);
        let previous = match old {
            Some(old) if put.prev_kv || put.ignore_value || self.with_previous => self.value(old.revision)?,
            _ => None,
        };
        let value = match &previous {
            Some(previous) if put.ignore_value => previous.value.clone(),
            _ => put.value.clone(),
        };
        let old_lease = old.map_or(0, |old| old.lease);
        let lease = if put.ignore_lease { old_lease } else { put.lease };
        let revision = transaction.next();
        let newest = Newest {
            revision,
            create: old.map_or(revision.main, |old| old.create),
            version: old.map_or(0, |old| old.version) + 1,
            lease,
        };
        let key = match indexed {
            Some(indexed) => {
                indexed.push(newest);
                indexed.key().clone()
            }
            None => self.state.keys.insert(&put.key, newest),
        };
        let kv = KeyValue {
            key: key.clone(),
            create_revision: newest.create,
            mod_revision: revision.main,
            version: newest.version,
            value,
            lease,
        };
        self.keep(revision, &kv);
        if old_lease != lease {
            self.detach(old_lease, &key);
            self.attach(lease, key);
        }
        let prev_kv = if put.prev_kv { previous.clone() } else { None };
        let event = Event {
            r#type: EventType::Put as i32,
            kv: Some(kv),
            prev_kv: if self.with_previous { previous } else { None },
        };
        transaction.events.push(ChangeEvent { event, previous: old.map(|old| old.revision) });
        Ok(PutResponse { header: Some(header_within(transaction)), prev_kv })
    }

    fn delete_range(
        &mut self,
        transaction: &mut Transaction,
        delete: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Error> {
        let keys = KeyRange::new(delete.key.clone(), delete.range_end.clone()).keys(&self.state);
        let doomed: Vec<(Bytes, Newest)> = keys
            .iter()
            .map(|indexed| (indexed.key().clone(), indexed.newest()))
            .filter(|(_, newest)| newest.is_alive())
            .collect();
        let mut prev_kvs = Vec::new();
        let deleted = doomed.len() as i64;
        for (key, old) in doomed {
            let previous = self.delete(transaction, key, old, delete.prev_kv)?;
            if delete.prev_kv {
                prev_kvs.extend(previous);
            }
        }
        Ok(DeleteRangeResponse { header: Some(header_within(transaction)), deleted, prev_kvs })
    }

    fn delete(
        &mut self,
        transaction: &mut Transaction,
        key: Bytes,
        old: Newest,
        wants_previous: bool,
    ) -> Result<Option<KeyValue>, Error> {
        let previous = if wants_previous || self.with_previous { self.value(old.revision)? } else { None };
        let revision = transaction.next();
        if let Some(indexed) = self.state.keys.get(&key) {
            indexed.push(Newest { revision, create: 0, version: 0, lease: 0 });
        }
        self.detach(old.lease, &key);
        let kv = KeyValue { key, mod_revision: revision.main, ..Default::default() };
        self.keep(revision, &kv);
        let event = Event {
            r#type: EventType::Delete as i32,
            kv: Some(kv),
            prev_kv: if self.with_previous { previous.clone() } else { None },
        };
        transaction.events.push(ChangeEvent { event, previous: Some(old.revision) });
        Ok(previous)
    }

    fn keep(&mut self, revision: Revision, kv: &KeyValue) {
        let record = kv.encode_to_vec();
        self.state.live_bytes += record.len() as u64;
        self.batch.put(Key::Record(revision).encode(), record);
        self.fresh.push((revision, kv.clone()));
    }

    fn attach(&mut self, lease: i64, key: Bytes) {
        if let Some(lease) = self.state.leases.get_mut(&lease) {
            lease.keys.insert(key);
        }
    }

    fn detach(&mut self, lease: i64, key: &Bytes) {
        if let Some(lease) = self.state.leases.get_mut(&lease) {
            lease.keys.remove(key);
        }
    }

    fn compaction(&mut self, request: &CompactionRequest) -> Result<Outcome, Error> {
        if request.revision <= self.state.compacted {
            return Err(Refusal::Compacted.into());
        }
        if request.revision > self.state.revision {
            return Err(Refusal::FutureRevision.into());
        }
        self.state.compacted = request.revision;
        Ok(Outcome::Compaction(CompactionResponse { header: self.header() }))
    }

    fn lease_grant(&mut self, grant: &LeaseGrantRequest) -> Result<Outcome, Error> {
        if self.state.leases.contains_key(&grant.id) {
            return Err(Refusal::LeaseExists.into());
        }
        self.batch.put(Key::Lease(grant.id).encode(), grant.encode_to_vec());
        let lease = Lease { ttl: grant.ttl, granted: self.state.applied_index(), ..Default::default() };
        self.state.leases.insert(grant.id, lease);
        let response = LeaseGrantResponse { header: self.header(), id: grant.id, ttl: grant.ttl, error: String::new() };
        Ok(Outcome::LeaseGrant(response))
    }

    fn lease_revoke(&mut self, revoke: &LeaseRevokeRequest) -> Result<Outcome, Error> {
        let lease = self.state.leases.remove(&revoke.id).ok_or(Refusal::LeaseNotFound)?;
        self.batch.remove(Key::Lease(revoke.id).encode());
        let mut transaction = self.begin();
        for key in lease.keys {
            if let Some(old) = self.newest(&key) {
                self.delete(&mut transaction, key, old, false)?;
            }
        }
        self.commit(transaction);
        Ok(Outcome::LeaseRevoke(LeaseRevokeResponse { header: self.header() }))
    }

    fn alarm(&mut self, request: &AlarmRequest) -> Outcome {
        let mut alarms = Vec::new();
        match request.action() {
            AlarmAction::Activate => {
                self.state.alarms.insert((request.member_id, request.alarm));
                self.batch.put(Key::Alarm(request.member_id, request.alarm).encode(), EMPTY);
                alarms.push((request.member_id, request.alarm));
            }
            AlarmAction::Deactivate => {
                let any = AlarmType::None as i32;
                let cleared = self.state.alarms.iter().copied().filter(|(member, alarm)| {
                    (request.member_id == 0 || request.member_id == *member)
                        && (request.alarm == any || request.alarm == *alarm)
                });
                for (member, alarm) in cleared.collect::<Vec<_>>() {
                    self.state.alarms.remove(&(member, alarm));
                    self.batch.remove(Key::Alarm(member, alarm).encode());
                    alarms.push((member, alarm));
                }
            }
            AlarmAction::Get => alarms.extend(self.state.alarms.iter().copied()),
        }
        let alarms = alarms.into_iter().map(|(member_id, alarm)| AlarmMember { member_id, alarm }).collect();
        Outcome::Alarm(AlarmResponse { header: self.header(), alarms })
    }

    fn member(&mut self, member: &wire::MemberAttributes) -> Outcome {
        self.batch.put(Key::Member(member.id).encode(), member.encode_to_vec());
        self.state.members.insert(member.id, Arc::new(member.clone()));
        Outcome::Done(wire::Done {})
    }
}

/// Within a transaction the header tells the revision alone: the new one as soon as something was changed.
fn header_within(transaction: &Transaction) -> ResponseHeader {
    let revision = if transaction.events.is_empty() { transaction.main - 1 } else { transaction.main };
    ResponseHeader { revision, ..Default::default() }
}
