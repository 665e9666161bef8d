//! Between the history's words and etcd's messages.

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_wire::etcdserverpb::request_op::Request as Asked;
use keelson_wire::etcdserverpb::response_op::Response as Answered;
use keelson_wire::mvccpb;

use crate::history::{Change, Event, Guard, Record, Reply, Request, Revision, Sighting, Span};

/// An answer that is none: it lacks what every answer has.
#[derive(Debug, thiserror::Error)]
#[error("the store's answer lacks its {0}")]
pub struct Malformed(pub &'static str);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn record(kv: &mvccpb::KeyValue) -> Record {
    Record {
        key: text(&kv.key),
        value: text(&kv.value),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
    }
}

pub fn sighting(event: &mvccpb::Event) -> Result<Sighting, Malformed> {
    let kv = event.kv.as_ref().ok_or(Malformed("record"))?;
    let put = (event.r#type() == mvccpb::event::EventType::Put).then(|| record(kv));
    let event_seen = Event { key: text(&kv.key), revision: kv.mod_revision, put };
    Ok(Sighting { event: event_seen, previous: event.prev_kv.as_ref().map(record) })
}

pub fn range(span: &Span, revision: Option<Revision>, serializable: bool) -> etcd::RangeRequest {
    let (key, range_end) = bounds(span);
    etcd::RangeRequest { key, range_end, revision: revision.unwrap_or(0), serializable, ..Default::default() }
}

pub fn bounds(span: &Span) -> (bytes::Bytes, bytes::Bytes) {
    match span {
        Span::One(key) => (key.clone().into(), bytes::Bytes::new()),
        Span::Range(start, end) => (start.clone().into(), end.clone().into()),
    }
}

pub fn put(key: &str, value: &str) -> etcd::PutRequest {
    etcd::PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

pub fn delete(key: &str) -> etcd::DeleteRangeRequest {
    etcd::DeleteRangeRequest { key: key.to_owned().into(), prev_kv: true, ..Default::default() }
}

fn operation(request: Asked) -> etcd::RequestOp {
    etcd::RequestOp { request: Some(request) }
}

fn change(change: &Change) -> etcd::RequestOp {
    operation(match change {
        Change::Put { key, value } => Asked::RequestPut(put(key, value)),
        Change::Delete { key } => Asked::RequestDeleteRange(delete(key)),
    })
}

fn guard(guard: &Guard) -> etcd::Compare {
    etcd::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key: guard.key.clone().into(),
        target_union: Some(TargetUnion::ModRevision(guard.mod_revision())),
        range_end: bytes::Bytes::new(),
    }
}

/// A transaction: where its guards do not hold, it reads what they guard.
pub fn transaction(request: &Request) -> etcd::TxnRequest {
    match request {
        Request::Read { spans, revision, serializable } => {
            let read = |span| operation(Asked::RequestRange(range(span, *revision, *serializable)));
            etcd::TxnRequest { success: spans.iter().map(read).collect(), ..Default::default() }
        }
        Request::Write { guards, changes } => {
            let read =
                |guard: &Guard| operation(Asked::RequestRange(range(&Span::One(guard.key.clone()), None, false)));
            etcd::TxnRequest {
                compare: guards.iter().map(guard).collect(),
                success: changes.iter().map(change).collect(),
                failure: guards.iter().map(read).collect(),
            }
        }
    }
}

fn ranges(response: etcd::TxnResponse) -> Result<Vec<Vec<Record>>, Malformed> {
    let range = |response: etcd::ResponseOp| match response.response {
        Some(Answered::ResponseRange(range)) => Ok(range.kvs.iter().map(record).collect()),
        _ => Err(Malformed("range")),
    };
    response.responses.into_iter().map(range).collect()
}

/// What a transaction's answer says of the request.
pub fn reply(request: &Request, response: etcd::TxnResponse) -> Result<Reply, Malformed> {
    match request {
        Request::Read { spans, .. } => {
            let found = ranges(response)?;
            if found.len() == spans.len() { Ok(Reply::Read(found)) } else { Err(Malformed("number of ranges")) }
        }
        Request::Write { guards, .. } if !response.succeeded => {
            let found = ranges(response)?;
            if found.len() != guards.len() {
                return Err(Malformed("number of ranges"));
            }
            let there = |(guard, records): (&Guard, Vec<Record>)| (guard.key.clone(), records.into_iter().next());
            Ok(Reply::Guarded(guards.iter().zip(found).map(there).collect()))
        }
        Request::Write { changes, .. } => {
            if response.responses.len() != changes.len() {
                return Err(Malformed("number of responses"));
            }
            let mut taken = Vec::new();
            for (change, response) in changes.iter().zip(response.responses) {
                match (change, response.response) {
                    (Change::Put { .. }, Some(Answered::ResponsePut(_))) => {}
                    (Change::Delete { key }, Some(Answered::ResponseDeleteRange(deleted))) => {
                        taken.push((key.clone(), taken_by(&deleted)?));
                    }
                    _ => return Err(Malformed("response of the change's kind")),
                }
            }
            Ok(Reply::Written(taken))
        }
    }
}

/// What a delete of one key took away.
pub fn taken_by(deleted: &etcd::DeleteRangeResponse) -> Result<Option<Record>, Malformed> {
    if deleted.deleted == deleted.prev_kvs.len() as i64 {
        Ok(deleted.prev_kvs.first().map(record))
    } else {
        Err(Malformed("previous records"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_write_reads_what_stands_in_its_way() {
        let request = Request::Write {
            guards: vec![Guard { key: "k/a".into(), seen: None }],
            changes: vec![Change::Put { key: "k/a".into(), value: "1".into() }, Change::Delete { key: "k/b".into() }],
        };
        let transaction = transaction(&request);
        assert_eq!((transaction.compare.len(), transaction.success.len(), transaction.failure.len()), (1, 2, 1));
        let kv = mvccpb::KeyValue { key: "k/a".into(), value: "0".into(), mod_revision: 7, ..Default::default() };
        let range = etcd::RangeResponse { kvs: vec![kv], ..Default::default() };
        let response = etcd::ResponseOp { response: Some(Answered::ResponseRange(range)) };
        let refused = etcd::TxnResponse { responses: vec![response], ..Default::default() };
        let Ok(Reply::Guarded(found)) = reply(&request, refused) else { panic!("it was guarded") };
        assert_eq!(found[0].1.as_ref().map(|record| record.mod_revision), Some(7));
        assert!(reply(&request, etcd::TxnResponse { succeeded: true, ..Default::default() }).is_err());
    }
}
