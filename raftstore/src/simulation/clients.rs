//! Clients: what they ask, and what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keelson_wire::etcdserverpb::{CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest};
use keelson_wire::raft::command::Change;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tonic::Status;

use super::evidence::SharedHistory;
use crate::doors::Requests;

const KEYS: u64 = 8;
/// The longest pause between two requests of one client.
const PAUSE_MILLIS: u64 = 150;

pub struct Client {
    pub requests: Arc<Requests>,
    pub history: SharedHistory,
    /// Nobody asks for more.
    pub ended: Arc<AtomicBool>,
    pub seed: u64,
}

impl Client {
    pub async fn run(self) {
        let mut random = StdRng::seed_from_u64(self.seed);
        let mut number = 0_u64;
        while !self.ended.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(random.random_range(1..=PAUSE_MILLIS))).await;
            number += 1;
            let key = format!("key-{}", random.random_range(0..KEYS)).into_bytes();
            let outcome = match random.random_range(0..100) {
                0..60 => {
                    // Some are larger than a sector, so that a power cut tears them.
                    let padding = if random.random_bool(0.2) { 1_500 } else { 8 };
                    let value = format!("{}-{number}-{}", self.seed, "x".repeat(padding));
                    put(&self.requests, &self.history, key, value.into_bytes()).await
                }
                60..88 => self.read(key).await,
                88..94 => self.delete(key).await,
                94..97 => self.compact().await,
                _ => {
                    let grant = LeaseGrantRequest { id: random.random_range(1..1_000), ttl: 1_000 };
                    self.requests.propose(Change::LeaseGrant(grant)).await.map(drop)
                }
            };
            if outcome.is_err() {
                self.history.lock().unknown += 1;
            }
        }
    }

    async fn read(&self, key: Vec<u8>) -> Result<(), Status> {
        let floor = self.history.lock().known;
        let request = RangeRequest { key: key.clone().into(), ..RangeRequest::default() };
        let response = self.requests.range(&request).await?;
        let revision = response.header.map_or(0, |header| header.revision);
        let found = response.kvs.first().map(|kv| (kv.mod_revision, kv.value.to_vec()));
        // A key that is gone was deleted by somebody who may not have been told.
        if found.is_some() || revision < floor {
            self.history.lock().read(&key, floor, revision, found);
        }
        Ok(())
    }

    async fn delete(&self, key: Vec<u8>) -> Result<(), Status> {
        let request = DeleteRangeRequest { key: key.clone().into(), ..DeleteRangeRequest::default() };
        let response = self.requests.delete_range(request).await?;
        if response.deleted > 0 {
            let revision = response.header.map_or(0, |header| header.revision);
            self.history.lock().acknowledge(revision, &key, b"");
        }
        Ok(())
    }

    async fn compact(&self) -> Result<(), Status> {
        let known = self.history.lock().known;
        let revision = (known - 20).max(0);
        self.requests.compact(CompactionRequest { revision, physical: false }).await.map(drop)
    }
}

pub async fn put(requests: &Requests, history: &SharedHistory, key: Vec<u8>, value: Vec<u8>) -> Result<(), Status> {
    let request = PutRequest { key: key.clone().into(), value: value.clone().into(), ..PutRequest::default() };
    let response = requests.put(request).await?;
    let revision = response.header.map_or(0, |header| header.revision);
    history.lock().acknowledge(revision, &key, &value);
    Ok(())
}
