//! Requests from a seed: over few keys, revisions and leases, so that they meet.

use bytes::Bytes;
use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::compare::TargetUnion;
use keelson_wire::etcdserverpb::request_op::Request;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::sides::{Pair, Step};
use super::twice::may_change_a_key_twice;

/// Prefixes of each other, and with the bytes at which ranges end.
const KEYS: [&[u8]; 10] = [b"a", b"a\0", b"a/1", b"a/2", b"a\xff", b"b", b"b/1", b"b0", b"c", b"\xff\xff"];
const ENDS: [&[u8]; 8] = [b"", b"\0", b"a", b"a0", b"b", b"b0", b"d", b"\xff\xff\xff"];
const VALUES: [&[u8]; 5] = [b"", b"1", b"2", b"10", b"a longer value"];
const LEASES: std::ops::Range<i64> = 1..6;
/// Transactions in transactions in transactions.
const DEPTH: u32 = 2;

pub struct Generator {
    random: StdRng,
    revision: i64,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), revision: 1 }
    }

    /// Requests speak of revisions near the newest.
    pub fn heed(&mut self, pair: &Pair) {
        self.revision = pair.revision;
    }

    pub fn next(&mut self) -> Step {
        match self.random.random_range(0..100) {
            0..30 => Step::Put(self.put()),
            30..52 => Step::Range(self.range()),
            52..60 => Step::DeleteRange(self.delete()),
            60..80 => Step::Txn(self.allowed_txn()),
            80..83 => Step::Compact(self.compaction()),
            83..88 => Step::Grant(self.grant()),
            88..91 => Step::Revoke(self.lease()),
            91..93 => Step::KeepAlive(self.lease()),
            93..96 => Step::TimeToLive(etcd::LeaseTimeToLiveRequest { id: self.lease(), keys: self.chance(50) }),
            96..98 => Step::Leases,
            _ => Step::HashKv(0),
        }
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.random.random_ratio(percent, 100)
    }

    fn one_of(&mut self, table: &[&'static [u8]]) -> Bytes {
        Bytes::from_static(table[self.random.random_range(0..table.len())])
    }

    /// Rarely none at all.
    fn key(&mut self) -> Bytes {
        if self.chance(1) { Bytes::new() } else { self.one_of(&KEYS) }
    }

    fn range_end(&mut self) -> Bytes {
        if self.chance(40) { Bytes::new() } else { self.one_of(&ENDS) }
    }

    fn lease(&mut self) -> i64 {
        self.random.random_range(LEASES)
    }

    /// Mostly the newest, else one that may be compacted, be there, or be yet to come.
    fn revision_or_none(&mut self) -> i64 {
        if self.chance(60) { 0 } else { (self.revision + self.random.random_range(-30..3)).max(1) }
    }

    fn bound(&mut self) -> i64 {
        if self.chance(80) { 0 } else { (self.revision + self.random.random_range(-40..2)).max(1) }
    }

    pub fn put(&mut self) -> etcd::PutRequest {
        let (ignore_value, ignore_lease) = (self.chance(8), self.chance(8));
        etcd::PutRequest {
            key: self.key(),
            value: if ignore_value && self.chance(90) { Bytes::new() } else { self.one_of(&VALUES) },
            lease: if self.chance(75) || (ignore_lease && self.chance(90)) { 0 } else { self.lease() },
            prev_kv: self.chance(40),
            ignore_value,
            ignore_lease,
        }
    }

    fn range(&mut self) -> etcd::RangeRequest {
        etcd::RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: if self.chance(60) { 0 } else { self.random.random_range(1..6) },
            revision: self.revision_or_none(),
            sort_order: self.random.random_range(0..3),
            sort_target: self.random.random_range(0..5),
            serializable: self.chance(20),
            keys_only: self.chance(15),
            count_only: self.chance(10),
            min_mod_revision: self.bound(),
            max_mod_revision: self.bound(),
            min_create_revision: self.bound(),
            max_create_revision: self.bound(),
        }
    }

    pub fn delete(&mut self) -> etcd::DeleteRangeRequest {
        let range_end = if self.chance(60) { Bytes::new() } else { self.range_end() };
        etcd::DeleteRangeRequest { key: self.key(), range_end, prev_kv: self.chance(50) }
    }

    /// One that neither side has a reason to refuse for its keys.
    fn allowed_txn(&mut self) -> etcd::TxnRequest {
        loop {
            let txn = self.txn(DEPTH);
            if !may_change_a_key_twice(&txn) {
                return txn;
            }
        }
    }

    fn txn(&mut self, depth: u32) -> etcd::TxnRequest {
        let compares = self.random.random_range(0..3);
        let (successes, failures) = (self.random.random_range(0..4), self.random.random_range(0..4));
        etcd::TxnRequest {
            compare: (0..compares).map(|_| self.compare()).collect(),
            success: (0..successes).map(|_| self.operation(depth)).collect(),
            failure: (0..failures).map(|_| self.operation(depth)).collect(),
        }
    }

    fn operation(&mut self, depth: u32) -> etcd::RequestOp {
        let request = match self.random.random_range(0..10) {
            0..4 => Request::RequestPut(self.put()),
            4..6 => Request::RequestDeleteRange(self.delete()),
            6..8 if depth > 0 => Request::RequestTxn(self.txn(depth - 1)),
            _ => Request::RequestRange(self.range()),
        };
        etcd::RequestOp { request: Some(request) }
    }

    fn compare(&mut self) -> etcd::Compare {
        let near = (self.revision + self.random.random_range(-20..2)).max(0);
        let target = self.random.random_range(0..5);
        let union = match target {
            0 => TargetUnion::Version(self.random.random_range(0..4)),
            1 => TargetUnion::CreateRevision(if self.chance(30) { 0 } else { near }),
            2 => TargetUnion::ModRevision(if self.chance(30) { 0 } else { near }),
            3 => TargetUnion::Value(self.one_of(&VALUES)),
            _ => TargetUnion::Lease(self.random.random_range(0..LEASES.end)),
        };
        etcd::Compare {
            result: self.random.random_range(0..4),
            target,
            key: self.key(),
            target_union: if self.chance(95) { Some(union) } else { None },
            range_end: if self.chance(70) { Bytes::new() } else { self.range_end() },
        }
    }

    /// A change of the data.
    pub fn change(&mut self) -> Step {
        match self.random.random_range(0..10) {
            0..6 => Step::Put(self.put()),
            6..8 => Step::DeleteRange(self.delete()),
            _ => Step::Txn(self.allowed_txn()),
        }
    }

    /// A watch made or ended.
    pub fn watch_creation(&mut self) -> etcd::WatchCreateRequest {
        etcd::WatchCreateRequest {
            key: self.key(),
            range_end: self.range_end(),
            start_revision: self.revision_or_none(),
            progress_notify: false,
            filters: (0..2).filter(|_| self.random.random_ratio(1, 8)).collect(),
            prev_kv: self.chance(50),
            watch_id: if self.chance(70) { 0 } else { self.random.random_range(1..20) },
            fragment: self.chance(20),
        }
    }

    fn compaction(&mut self) -> etcd::CompactionRequest {
        let revision = self.revision + self.random.random_range(-40..3);
        etcd::CompactionRequest { revision: revision.max(1), physical: self.chance(30) }
    }

    /// Long enough to outlive the test.
    fn grant(&mut self) -> etcd::LeaseGrantRequest {
        etcd::LeaseGrantRequest { ttl: self.random.random_range(3_000..3_100), id: self.lease() }
    }
}
