//! Requests of which chance would find too few.

use bytes::Bytes;
use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::alarm_request::AlarmAction;
use keelson_wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_wire::etcdserverpb::request_op::Request;

use super::sides::{Pair, Step};
use crate::harness::put;

fn operation(request: Request) -> etcd::RequestOp {
    etcd::RequestOp { request: Some(request) }
}

fn txn(success: Vec<etcd::RequestOp>) -> Step {
    Step::Txn(etcd::TxnRequest { success, ..Default::default() })
}

fn put_operation(key: &str) -> etcd::RequestOp {
    operation(Request::RequestPut(put(key, "v")))
}

fn range(key: &'static [u8], range_end: &'static [u8]) -> etcd::RangeRequest {
    etcd::RangeRequest { key: Bytes::from_static(key), range_end: Bytes::from_static(range_end), ..Default::default() }
}

fn every_compare() -> Vec<Step> {
    let mut steps = Vec::new();
    for key in ["there", "leased", "deleted", "never", "empty"] {
        for result in [CompareResult::Equal, CompareResult::NotEqual, CompareResult::Greater, CompareResult::Less] {
            for (target, unions) in [
                (CompareTarget::Version, [0, 1, 2].map(TargetUnion::Version)),
                (CompareTarget::Create, [0, 2, 9].map(TargetUnion::CreateRevision)),
                (CompareTarget::Mod, [0, 3, 9].map(TargetUnion::ModRevision)),
                (CompareTarget::Value, ["", "v", "w"].map(|value| TargetUnion::Value(value.into()))),
                (CompareTarget::Lease, [0, 7, 8].map(TargetUnion::Lease)),
            ] {
                for union in unions.into_iter().map(Some).chain([None]) {
                    let compare = etcd::Compare {
                        result: result as i32,
                        target: target as i32,
                        key: key.into(),
                        target_union: union,
                        range_end: Bytes::new(),
                    };
                    steps.push(Step::Txn(etcd::TxnRequest { compare: vec![compare], ..Default::default() }));
                }
            }
        }
    }
    steps
}

fn every_sort() -> Vec<Step> {
    let mut steps = Vec::new();
    for sort_order in 0..3 {
        for sort_target in 0..5 {
            for (limit, keys_only) in [(0, false), (1, true), (3, false), (100, false), (-1, false)] {
                let all = range(b"\0", b"\0");
                steps.push(Step::Range(etcd::RangeRequest { sort_order, sort_target, limit, keys_only, ..all }));
            }
        }
    }
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_picked_by_hand_is_answered_alike() {
    let mut pair = Pair::started().await;
    let lease = |id, ttl| Step::Grant(etcd::LeaseGrantRequest { id, ttl });
    let mut steps = vec![
        lease(7, 500),
        Step::Put(put("there", "v")),
        Step::Put(put("there", "v")),
        Step::Put(etcd::PutRequest { lease: 7, ..put("leased", "w") }),
        Step::Put(put("deleted", "v")),
        Step::DeleteRange(etcd::DeleteRangeRequest { key: "deleted".into(), prev_kv: true, ..Default::default() }),
        Step::Put(put("empty", "")),
    ];
    steps.extend(every_compare());
    steps.extend(every_sort());
    // Ranges and their ends.
    for (key, end) in [
        (&b""[..], &b""[..]),
        (b"", b"\0"),
        (b"", b"z"),
        (b"\0", b"\0"),
        (b"\0", b""),
        (b"there", b"there"),
        (b"there", b"there\0"),
        (b"z", b"a"),
        (b"e", b"\0"),
        (b"l", b"m"),
        (b"a", b"\0\0"),
    ] {
        steps.push(Step::Range(range(key, end)));
        steps.push(Step::Range(etcd::RangeRequest { count_only: true, limit: 1, ..range(key, end) }));
        let (key, range_end) = (Bytes::from_static(key), Bytes::from_static(end));
        let nothing = etcd::RangeRequest { min_mod_revision: 1_000, ..range(b"a", b"z") };
        steps.push(Step::Range(nothing));
        let compare = etcd::Compare { key: key.clone(), range_end: range_end.clone(), ..Default::default() };
        steps.push(Step::Txn(etcd::TxnRequest { compare: vec![compare], ..Default::default() }));
        if key != "\0" && range_end != "\0" && !key.is_empty() {
            let delete = etcd::DeleteRangeRequest { key, range_end, prev_kv: true };
            steps.push(Step::DeleteRange(delete));
        }
    }
    for revision in [-1, 0, 1, 2, 3, 1_000] {
        steps.push(Step::Range(etcd::RangeRequest { revision, ..range(b"\0", b"\0") }));
        steps.push(Step::HashKv(revision));
    }
    // Puts that contradict themselves, or need what is not there.
    for (ignore_value, ignore_lease, value, lease, key) in [
        (true, false, "v", 0, "there"),
        (true, false, "", 7, "there"),
        (false, true, "v", 7, "there"),
        (false, true, "v", 0, "leased"),
        (true, true, "", 0, "leased"),
        (true, false, "", 0, "never"),
        (false, true, "x", 0, "never"),
        (true, false, "", 99, "never"),
        (false, false, "x", 99, "there"),
        (false, false, "x", -1, "there"),
    ] {
        let request = etcd::PutRequest { ignore_value, ignore_lease, lease, prev_kv: true, ..put(key, value) };
        steps.push(Step::Put(request.clone()));
        steps.push(txn(vec![put_operation("first"), operation(Request::RequestPut(request))]));
    }
    // Transactions.
    let nested = |success: Vec<etcd::RequestOp>, failure: Vec<etcd::RequestOp>| {
        let compare =
            etcd::Compare { key: "never".into(), target_union: Some(TargetUnion::Version(0)), ..Default::default() };
        operation(Request::RequestTxn(etcd::TxnRequest { compare: vec![compare], success, failure }))
    };
    let read = || operation(Request::RequestRange(range(b"n", b"o")));
    let delete = |key: &str, end: &str| {
        operation(Request::RequestDeleteRange(etcd::DeleteRangeRequest {
            key: key.to_owned().into(),
            range_end: end.to_owned().into(),
            prev_kv: true,
        }))
    };
    steps.extend([
        txn(vec![]),
        txn(vec![read()]),
        txn(vec![read(), put_operation("n1"), read(), delete("n1", ""), read()]),
        txn(vec![put_operation("n1"), put_operation("n1")]),
        txn(vec![put_operation("n1"), delete("n1", "")]),
        txn(vec![put_operation("n1"), delete("n0", "n2")]),
        txn(vec![put_operation("n1"), nested(vec![put_operation("n1")], vec![])]),
        txn(vec![nested(vec![put_operation("n1")], vec![put_operation("n1")])]),
        txn(vec![nested(vec![put_operation("n1")], vec![]), nested(vec![put_operation("n1")], vec![])]),
        txn(vec![nested(vec![read(), put_operation("n2"), read()], vec![]), read()]),
        txn(vec![put_operation("n3"), nested(vec![read(), nested(vec![put_operation("n4")], vec![])], vec![]), read()]),
        txn(vec![delete("n", "o"), delete("n", "o"), put_operation("p")]),
        txn(vec![operation(Request::RequestRange(etcd::RangeRequest { revision: 1_000, ..range(b"n", b"") }))]),
        // Two faults: which is told?
        txn(vec![
            operation(Request::RequestRange(etcd::RangeRequest { revision: 1_000, ..range(b"n", b"") })),
            operation(Request::RequestPut(etcd::PutRequest { lease: 99, ..put("n", "v") })),
        ]),
        txn(vec![put_operation(""), read()]),
        txn(vec![etcd::RequestOp { request: None }]),
        txn((0..128).map(|number| put_operation(&format!("m{number}"))).collect()),
        txn((0..129).map(|number| put_operation(&format!("m{number}"))).collect()),
        txn(vec![nested((0..129).map(|number| put_operation(&format!("m{number}"))).collect(), vec![])]),
    ]);
    let compares = vec![etcd::Compare { key: "a".into(), ..Default::default() }; 129];
    steps.push(Step::Txn(etcd::TxnRequest { compare: compares, ..Default::default() }));
    // What is too large for a request, and still a message.
    steps.push(Step::Put(put("large", vec![b'l'; 1_600_000])));
    steps.push(Step::Put(put("large", vec![b'l'; 1_500_000])));
    // Leases.
    steps.extend([
        lease(7, 10),
        lease(8, 0),
        lease(9, -5),
        lease(10, 1),
        lease(-3, 100),
        lease(11, 9_000_000_000),
        lease(12, 9_000_000_001),
        Step::Leases,
        Step::TimeToLive(etcd::LeaseTimeToLiveRequest { id: 7, keys: true }),
        Step::TimeToLive(etcd::LeaseTimeToLiveRequest { id: 99, keys: true }),
        Step::TimeToLive(etcd::LeaseTimeToLiveRequest { id: 0, keys: false }),
        Step::KeepAlive(7),
        Step::KeepAlive(11),
        Step::KeepAlive(99),
        Step::KeepAlive(0),
        Step::Revoke(7),
        Step::Revoke(7),
        Step::Revoke(0),
        Step::Range(range(b"leased", b"")),
    ]);
    // Compactions.
    let compaction = |revision, physical| Step::Compact(etcd::CompactionRequest { revision, physical });
    steps.extend([
        compaction(1_000, false),
        compaction(5, true),
        compaction(5, false),
        compaction(4, true),
        compaction(8, false),
        Step::HashKv(4),
        Step::HashKv(0),
    ]);
    for revision in [4, 7, 8, 9] {
        steps.push(Step::Range(etcd::RangeRequest { revision, ..range(b"\0", b"\0") }));
        let at = etcd::RangeRequest { revision, ..range(b"there", b"") };
        steps.push(txn(vec![put_operation("q"), operation(Request::RequestRange(at))]));
    }
    // Members that are not there, and the last one that is.
    let add = |url: &str, is_learner| {
        Step::MemberAdd(etcd::MemberAddRequest { peer_ur_ls: vec![url.to_owned()], is_learner })
    };
    let update = |id, url: &str| Step::MemberUpdate(etcd::MemberUpdateRequest { id, peer_ur_ls: vec![url.to_owned()] });
    steps.extend([
        add("no url", false),
        add("ftp://127.0.0.1:1", false),
        add("http://127.0.0.1", false),
        add("http://name:1/path", false),
        Step::MemberAdd(etcd::MemberAddRequest::default()),
        Step::MemberRemove(99),
        update(99, "http://127.0.0.1:1"),
        update(99, "no url"),
        Step::MemberPromote(99),
        Step::MoveLeader(99),
    ]);
    let alarm = |action: AlarmAction, alarm: etcd::AlarmType| {
        Step::Alarm(etcd::AlarmRequest { action: action as i32, member_id: 42, alarm: alarm as i32 })
    };
    steps.extend([
        alarm(AlarmAction::Get, etcd::AlarmType::None),
        alarm(AlarmAction::Deactivate, etcd::AlarmType::Nospace),
        alarm(AlarmAction::Activate, etcd::AlarmType::Nospace),
        alarm(AlarmAction::Activate, etcd::AlarmType::Nospace),
        alarm(AlarmAction::Get, etcd::AlarmType::Nospace),
        Step::Put(put("refused", "v")),
        txn(vec![put_operation("refused")]),
        txn(vec![delete("refused", "")]),
        lease(20, 100),
        Step::DeleteRange(etcd::DeleteRangeRequest { key: "there".into(), ..Default::default() }),
        alarm(AlarmAction::Deactivate, etcd::AlarmType::Nospace),
        alarm(AlarmAction::Deactivate, etcd::AlarmType::Nospace),
        Step::Put(put("taken", "v")),
    ]);
    let mut differences = Vec::new();
    for step in steps {
        let (theirs, ours) = tokio::join!(pair.etcd.ask(&step), pair.ours.ask(&step));
        if theirs.text != ours.text {
            differences.push(format!("{step:?}\n  etcd:      {}\n  raftstore: {}\n", theirs.text, ours.text));
        }
    }
    // The ids of the members differ, so each is asked with its own.
    let (theirs, ours) = (pair.etcd.own_id().await, pair.ours.own_id().await);
    for ask in [Step::MemberPromote, Step::MoveLeader] {
        let (theirs, ours) = (pair.etcd.ask(&ask(theirs)).await, pair.ours.ask(&ask(ours)).await);
        if theirs.text != ours.text {
            differences.push(format!("own id\n  etcd:      {}\n  raftstore: {}\n", theirs.text, ours.text));
        }
    }
    // The same words under the right code, where etcd 3.4 has `Unknown`.
    let refused = pair.ours.ask(&Step::MemberRemove(ours)).await;
    let words = "etcdserver: re-configuration failed due to not enough started members";
    assert_eq!(refused.text, format!("FailedPrecondition: {words}"));
    assert_eq!(pair.etcd.ask(&Step::MemberRemove(theirs)).await.text, format!("Unknown: {words}"));
    // A key that is put, in a range without an end that is deleted: etcd overlooks it, and changes the key twice.
    let both = txn(vec![put_operation("y"), delete("x", "\0")]);
    let refused = pair.ours.ask(&both).await;
    assert_eq!(refused.text, "InvalidArgument: etcdserver: duplicate key given in txn request");
    assert!(pair.etcd.ask(&both).await.revision.is_some(), "etcd takes it");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
