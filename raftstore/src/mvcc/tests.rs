//! The whole of MVCC against a model that is too simple to be wrong: a map for each revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_wire::etcdserverpb::request_op::Request;
use keelson_wire::raft as wire;
use keelson_wire::raft::command::Change;
use keelson_wire::raft::outcome::Result as Outcome;
use proptest::prelude::*;

use super::*;
use crate::disk::{Bundled, SledStorage, Storage};
use crate::refusal::Refusal;

struct Fixture {
    writer: Writer,
    _directory: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let storage: Arc<dyn Storage> = {
            let database = SledStorage::open(directory.path(), 4 << 20).expect("a database");
            Arc::new(Bundled::new(database).expect("a database"))
        };
        Self { writer: Writer::new(State::empty(storage)), _directory: directory }
    }

    fn apply(&mut self, change: Change) -> Outcome {
        let outcome = self.writer.apply(&wire::Command { change: Some(change) }).expect("the disk works");
        self.writer.finish().expect("the disk works");
        outcome.result.expect("a result")
    }

    fn refusal(&mut self, change: Change) -> String {
        match self.apply(change) {
            Outcome::Refusal(refusal) => refusal.message,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn put(&mut self, key: &str, value: &str) -> i64 {
        match self.apply(put(key, value)) {
            Outcome::Put(response) => response.header.expect("a header").revision,
            other => panic!("{other:?}"),
        }
    }

    /// Both halves of every compaction, as the member's housekeeping does them.
    fn sweep(&mut self) {
        loop {
            let state = self.writer.state().clone();
            let compaction = Compaction::pending(&state).expect("readable");
            if compaction.is_done() {
                return;
            }
            let step = compaction.next_step(state.storage.as_ref(), 3).expect("readable");
            let gone = self.writer.trim(step.keys, compaction.target);
            self.writer.finish().expect("written");
            Compaction::remove(state.storage.as_ref(), &gone, step.reached).expect("removed");
        }
    }
}

fn put(key: &str, value: &str) -> Change {
    Change::Put(etcd::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..Default::default()
    })
}

fn everything(revision: i64) -> etcd::RangeRequest {
    etcd::RangeRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        revision,
        ..Default::default()
    }
}

/// Keys with values, as they are at a revision.
fn contents(state: &State, revision: i64) -> Result<BTreeMap<String, String>, Error> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let response = range(state, state, &everything(revision))?;
    Ok(response.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect())
}

#[test]
fn a_put_counts_versions_and_a_delete_begins_them_anew() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.put("a", "1"), 2);
    assert_eq!(fixture.put("a", "2"), 3);
    let newest = fixture.writer.newest(b"a").expect("there");
    assert_eq!((newest.create, newest.version), (2, 2));
    let delete = etcd::DeleteRangeRequest { key: "a".into(), prev_kv: true, ..Default::default() };
    let Outcome::DeleteRange(deleted) = fixture.apply(Change::DeleteRange(delete.clone())) else { panic!() };
    assert_eq!((deleted.deleted, deleted.prev_kvs[0].value.as_ref()), (1, &b"2"[..]));
    // Deleting nothing changes nothing.
    let Outcome::DeleteRange(deleted) = fixture.apply(Change::DeleteRange(delete)) else { panic!() };
    assert_eq!((deleted.deleted, deleted.header.expect("a header").revision), (0, 4));
    fixture.put("a", "3");
    let newest = fixture.writer.newest(b"a").expect("there");
    assert_eq!((newest.create, newest.version), (5, 1));
}

#[test]
fn a_transaction_is_one_revision_and_sees_itself() {
    let mut fixture = Fixture::new();
    fixture.put("a", "1");
    let operation = |request| etcd::RequestOp { request: Some(request) };
    let put_b = etcd::PutRequest { key: "b".into(), value: "2".into(), ..Default::default() };
    let put_c = etcd::PutRequest { key: "c".into(), value: "3".into(), ..Default::default() };
    let compare = etcd::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: "a".into(),
        target_union: Some(TargetUnion::ModRevision(2)),
        ..Default::default()
    };
    let nested = etcd::TxnRequest { success: vec![operation(Request::RequestPut(put_c))], ..Default::default() };
    let txn = etcd::TxnRequest {
        compare: vec![compare],
        success: vec![
            operation(Request::RequestPut(put_b)),
            operation(Request::RequestRange(everything(0))),
            operation(Request::RequestTxn(nested)),
        ],
        failure: vec![],
    };
    let Outcome::Txn(response) = fixture.apply(Change::Txn(txn.clone())) else { panic!() };
    assert!(response.succeeded);
    assert_eq!(response.header.expect("a header").revision, 3);
    let Some(etcd::response_op::Response::ResponseRange(seen)) = &response.responses[1].response else { panic!() };
    assert_eq!(seen.count, 2);
    assert_eq!(fixture.writer.newest(b"c").expect("there").revision, Revision { main: 3, sub: 1 });
    // The compare no longer holds when a has changed.
    fixture.put("a", "4");
    let Outcome::Txn(response) = fixture.apply(Change::Txn(txn)) else { panic!() };
    assert!(!response.succeeded);
    assert_eq!(response.header.expect("a header").revision, 4);
}

#[test]
fn what_cannot_be_done_is_refused_in_etcds_words_and_changes_nothing() {
    let mut fixture = Fixture::new();
    let missing = etcd::PutRequest { key: "a".into(), ignore_value: true, ..Default::default() };
    assert_eq!(fixture.refusal(Change::Put(missing)), "etcdserver: key not found");
    let leased = etcd::PutRequest { key: "a".into(), lease: 9, ..Default::default() };
    assert_eq!(fixture.refusal(Change::Put(leased)), "etcdserver: requested lease not found");
    let future = etcd::CompactionRequest { revision: 50, physical: false };
    assert_eq!(fixture.refusal(Change::Compaction(future)), "etcdserver: mvcc: required revision is a future revision");
    fixture.put("a", "1");
    let compaction = etcd::CompactionRequest { revision: 2, physical: false };
    fixture.apply(Change::Compaction(compaction));
    assert_eq!(
        fixture.refusal(Change::Compaction(compaction)),
        "etcdserver: mvcc: required revision has been compacted"
    );
    assert_eq!(fixture.writer.state().revision, 2);
}

#[test]
fn a_lease_takes_its_keys_with_it() {
    let mut fixture = Fixture::new();
    fixture.apply(Change::LeaseGrant(etcd::LeaseGrantRequest { id: 7, ttl: 10 }));
    for key in ["a", "b"] {
        let put = etcd::PutRequest { key: key.into(), lease: 7, ..Default::default() };
        fixture.apply(Change::Put(put));
    }
    // A put without the lease takes the key off it.
    fixture.put("b", "free");
    fixture.apply(Change::LeaseRevoke(etcd::LeaseRevokeRequest { id: 7 }));
    let left = contents(fixture.writer.state(), 0).expect("readable");
    assert_eq!(left.keys().collect::<Vec<_>>(), ["b"]);
    assert!(fixture.writer.state().leases.is_empty());
}

#[test]
fn ranges_are_limited_sorted_filtered_and_counted() {
    let mut fixture = Fixture::new();
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2")] {
        fixture.put(key, value);
    }
    let state = fixture.writer.state().clone();
    let ask = |change: fn(&mut etcd::RangeRequest)| {
        let mut request = everything(0);
        change(&mut request);
        let response = range(&state, &state, &request).expect("an answer");
        let keys: String = response.kvs.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect();
        (keys, response.more, response.count)
    };
    assert_eq!(ask(|_| {}), ("abc".into(), false, 3));
    assert_eq!(ask(|request| request.limit = 2), ("ab".into(), true, 3));
    assert_eq!(ask(|request| request.count_only = true), (String::new(), false, 3));
    assert_eq!(ask(|request| request.sort_order = 2), ("cba".into(), false, 3));
    assert_eq!(
        ask(|request| {
            request.sort_target = etcd::range_request::SortTarget::Value as i32;
            request.limit = 2;
        }),
        ("bc".into(), true, 3)
    );
    assert_eq!(ask(|request| request.min_mod_revision = 3), ("bc".into(), false, 3));
    assert_eq!(ask(|request| request.max_create_revision = 2), ("a".into(), false, 3));
    assert_eq!(
        ask(|request| {
            request.key = "b".into();
            request.range_end = "a".into();
        }),
        (String::new(), false, 0)
    );
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8, u8),
    Compact(u8),
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..6_u8, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0..6_u8, 0..7_u8).prop_map(|(from, to)| Step::Delete(from, to)),
        1 => any::<u8>().prop_map(Step::Compact),
        1 => Just(Step::Reload),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_revision_and_every_picture_reads_as_the_model_says(steps in prop::collection::vec(step(), 1..60)) {
        let mut fixture = Fixture::new();
        let mut model: Vec<BTreeMap<String, String>> = vec![BTreeMap::new(); 2];
        let mut compacted = 0_i64;
        let mut pictures: Vec<State> = Vec::new();
        for step in steps {
            let mut now = model.last().expect("never empty").clone();
            match step {
                Step::Put(key, value) => {
                    let (key, value) = (format!("k{key}"), format!("v{value}"));
                    fixture.put(&key, &value);
                    now.insert(key, value);
                    model.push(now);
                }
                Step::Delete(from, to) => {
                    let (from, to) = (format!("k{from}"), format!("k{to}"));
                    let delete = etcd::DeleteRangeRequest {
                        key: from.clone().into(),
                        range_end: to.clone().into(),
                        prev_kv: false,
                    };
                    fixture.apply(Change::DeleteRange(delete));
                    let before = now.len();
                    now.retain(|key, _| !(*key >= from && *key < to));
                    if now.len() < before {
                        model.push(now);
                    }
                }
                Step::Compact(part) => {
                    let newest = model.len() as i64 - 1;
                    let revision = compacted + 1 + (newest - compacted) * i64::from(part) / 256;
                    if revision <= newest {
                        fixture.apply(Change::Compaction(etcd::CompactionRequest { revision, physical: false }));
                        compacted = revision;
                        fixture.sweep();
                    }
                }
                Step::Reload => {
                    let storage = fixture.writer.state().storage.clone();
                    let loaded = State::load(storage).expect("loaded");
                    prop_assert_eq!(loaded.revision, fixture.writer.state().revision.max(loaded.revision));
                    fixture.writer = Writer::new(loaded);
                    // Only the pictures of one run share their histories.
                    pictures.clear();
                }
            }
            let state = fixture.writer.state();
            pictures.push(state.clone());
            // Earlier pictures show what they showed, or say that a compaction has overtaken them.
            for picture in &pictures {
                let read = contents(picture, 0);
                if read.is_err() {
                    prop_assert!(matches!(read, Err(Error::Refused(Refusal::Compacted))));
                    prop_assert!(picture.is_overtaken() && picture.revision < compacted);
                } else {
                    prop_assert_eq!(read.expect("readable"), model[picture.revision as usize].clone());
                }
            }
            prop_assert_eq!(state.revision, model.len() as i64 - 1);
            for revision in 1..model.len() as i64 {
                let read = contents(state, revision);
                if revision < compacted {
                    prop_assert!(matches!(read, Err(Error::Refused(Refusal::Compacted))));
                } else {
                    prop_assert_eq!(read.expect("readable"), model[revision as usize].clone());
                }
            }
        }
    }
}
