//! Clients: what they ask, and what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keelson_wire::etcdserverpb::request_op::Request;
use keelson_wire::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest,
};
use keelson_wire::raft::command::Change;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IteratorRandom as _;
use tonic::{Code, Status};

use super::evidence::{Acknowledged, SharedHistory};
use super::leases::{SHORT_SECONDS, Told};
use super::net::Net;
use crate::doors::Requests;

const KEYS: u64 = 8;
/// The longest pause between two requests of one client.
const PAUSE_MILLIS: u64 = 150;
/// Ids of leases that end within the run: few, so that they are granted anew. The first ones are never renewed, the last
/// ones are sometimes revoked.
const SHORT_LEASES: i64 = 10;
const UNRENEWED: i64 = 2;
const REVOKED_FROM: i64 = 7;
const LONGEST_SHORT_SECONDS: i64 = 3;

pub struct Client {
    pub requests: Arc<Requests>,
    pub history: SharedHistory,
    pub net: Net,
    /// Nobody asks for more.
    pub ended: Arc<AtomicBool>,
    pub random: StdRng,
    /// Tells its values from those of others.
    pub name: u64,
}

fn put_of(key: &[u8], value: &[u8], lease: i64) -> PutRequest {
    let (key, value) = (key.to_vec().into(), value.to_vec().into());
    PutRequest { key, value, lease, ..PutRequest::default() }
}

fn change(key: Vec<u8>, value: Vec<u8>) -> Acknowledged {
    Acknowledged { key, value }
}

fn key(number: u64) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

impl Client {
    pub async fn run(mut self) {
        let mut number = 0_u64;
        while !self.ended.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(1..=PAUSE_MILLIS))).await;
            number += 1;
            let key = key(self.random.random_range(0..KEYS));
            let outcome = match self.random.random_range(0..100) {
                0..46 => self.put(key, number).await,
                46..52 => self.transaction(number).await,
                52..74 => read(&self.requests, &self.history, key).await,
                74..80 => self.delete(key).await,
                80..83 => self.compact().await,
                83..89 => self.grant().await,
                89..98 => self.renew().await,
                _ => self.revoke().await,
            };
            if outcome.is_err() {
                self.history.lock().unknown += 1;
            }
        }
    }

    fn value(&mut self, number: u64) -> Vec<u8> {
        // Some are larger than a sector, so that a power cut tears them.
        let padding = if self.random.random_bool(0.2) { 1_500 } else { 8 };
        format!("{}-{number}-{}", self.name, "x".repeat(padding)).into_bytes()
    }

    async fn put(&mut self, key: Vec<u8>, number: u64) -> Result<(), Status> {
        let value = self.value(number);
        let lease = if self.random.random_bool(0.15) { self.random.random_range(1..=SHORT_LEASES) } else { 0 };
        put(&self.requests, &self.history, key, value, lease).await
    }

    /// Puts some keys at once, and deletes another.
    async fn transaction(&mut self, number: u64) -> Result<(), Status> {
        let keys = self.random.random_range(2..=4);
        let mut keys: Vec<Vec<u8>> = (0..KEYS).choose_multiple(&mut self.random, keys).into_iter().map(key).collect();
        let doomed = keys.pop().unwrap_or_default();
        let changes: Vec<Acknowledged> = keys.into_iter().map(|key| change(key, self.value(number))).collect();
        let operation = |request| RequestOp { request: Some(request) };
        let puts = changes.iter().map(|change| operation(Request::RequestPut(put_of(&change.key, &change.value, 0))));
        let delete = DeleteRangeRequest { key: doomed.into(), ..DeleteRangeRequest::default() };
        let success = puts.chain([operation(Request::RequestDeleteRange(delete))]).collect();
        let response = self.requests.txn(TxnRequest { success, ..TxnRequest::default() }).await?;
        let revision = response.header.map_or(0, |header| header.revision);
        self.history.lock().acknowledge(revision, changes);
        Ok(())
    }

    async fn delete(&self, key: Vec<u8>) -> Result<(), Status> {
        let request = DeleteRangeRequest { key: key.clone().into(), ..DeleteRangeRequest::default() };
        let response = self.requests.delete_range(request).await?;
        if response.deleted > 0 {
            let revision = response.header.map_or(0, |header| header.revision);
            self.history.lock().acknowledge(revision, vec![change(key, Vec::new())]);
        }
        Ok(())
    }

    /// Sometimes close behind those who watch.
    async fn compact(&mut self) -> Result<(), Status> {
        let known = self.history.lock().known;
        let kept = if self.random.random_bool(0.3) { self.random.random_range(0..3) } else { 20 };
        let revision = (known - kept).max(0);
        self.requests.compact(CompactionRequest { revision, physical: false }).await.map(drop)
    }

    async fn grant(&mut self) -> Result<(), Status> {
        let grant = if self.random.random_bool(0.2) {
            LeaseGrantRequest { id: self.random.random_range(SHORT_LEASES + 1..1_000), ttl: 10 * SHORT_SECONDS }
        } else {
            let id = self.random.random_range(1..=SHORT_LEASES);
            LeaseGrantRequest { id, ttl: self.random.random_range(1..=LONGEST_SHORT_SECONDS) }
        };
        self.requests.propose(Change::LeaseGrant(grant)).await.map(drop)
    }

    async fn renew(&mut self) -> Result<(), Status> {
        let id = self.random.random_range(UNRENEWED + 1..=SHORT_LEASES);
        let asked = self.net.now();
        if self.requests.leases().renew(id).await? > 0 {
            self.history.lock().told.push(Told::Renewed { id, asked });
        }
        Ok(())
    }

    async fn revoke(&mut self) -> Result<(), Status> {
        let id = self.random.random_range(REVOKED_FROM..=SHORT_LEASES);
        self.history.lock().leases.revoking(id);
        let outcome = self.requests.propose(Change::LeaseRevoke(LeaseRevokeRequest { id })).await;
        // There is no such lease: that was seen in the log's order, too.
        if outcome.as_ref().err().is_none_or(|refusal| refusal.code() == Code::NotFound) {
            self.history.lock().told.push(Told::Revoked { id });
        }
        outcome.map(drop)
    }
}

pub async fn read(requests: &Requests, history: &SharedHistory, key: Vec<u8>) -> Result<(), Status> {
    let floor = history.lock().known;
    let request = RangeRequest { key: key.clone().into(), ..RangeRequest::default() };
    let response = requests.range(&request).await?;
    let revision = response.header.map_or(0, |header| header.revision);
    let found = response.kvs.first().map(|kv| (kv.mod_revision, kv.value.to_vec()));
    // A key that is gone was deleted by somebody who may not have been told.
    if found.is_some() || revision < floor {
        history.lock().read(&key, floor, revision, found);
    }
    Ok(())
}

/// A probe: whether a member takes a write.
pub async fn probe(requests: &Requests, history: &SharedHistory, key: Vec<u8>) -> Result<(), Status> {
    put(requests, history, key, b"well".to_vec(), 0).await
}

async fn put(
    requests: &Requests,
    history: &SharedHistory,
    key: Vec<u8>,
    value: Vec<u8>,
    lease: i64,
) -> Result<(), Status> {
    let response = requests.put(put_of(&key, &value, lease)).await?;
    let revision = response.header.map_or(0, |header| header.revision);
    history.lock().acknowledge(revision, vec![change(key, value)]);
    Ok(())
}
