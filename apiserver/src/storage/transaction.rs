//! The one transaction that the API server makes: write a key if it is still at the revision that was read.

use bytes::Bytes;
use keelson_wire::{
    etcdserverpb::{
        Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, TxnResponse, compare,
        request_op::Request, response_op,
    },
    mvccpb::KeyValue,
};

use super::{Companion, Error};

/// A value as it lies in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    pub value: Bytes,
    pub create_revision: i64,
    pub revision: i64,
}

impl From<KeyValue> for Stored {
    fn from(pair: KeyValue) -> Stored {
        Stored { value: pair.value, create_revision: pair.create_revision, revision: pair.mod_revision }
    }
}

/// Another key that must be at this revision for the write to commit.
#[derive(Debug, Clone)]
pub struct Condition {
    pub key: String,
    pub revision: i64,
}

#[derive(Debug, Clone)]
pub struct Write {
    pub key: String,
    /// The modification revision that was read; 0: the key must be absent.
    pub expected: i64,
    /// None deletes the key.
    pub value: Option<Bytes>,
    /// The Lease of the leader that writes.
    pub guard: Option<Condition>,
    pub companions: Vec<Companion>,
    /// The store lease that the value lives under; 0: for ever.
    pub lease: i64,
}

#[derive(Debug, PartialEq)]
pub enum Outcome {
    Committed {
        revision: i64,
        /// The store has said so itself. Else an attempt without an answer must have done it, and of a delete the revision
        /// is unknown: it is after the one that is said.
        is_certain: bool,
    },
    /// Nothing was written. `current` is what the key holds, `guard_failed` and `companion_failed` say what else was not as expected.
    Refused { current: Option<Stored>, guard_failed: bool, companion_failed: bool },
}

impl Write {
    pub(crate) fn to_request(&self) -> TxnRequest {
        let key = Bytes::copy_from_slice(self.key.as_bytes());
        let mut compare = vec![at_revision(key.clone(), self.expected)];
        let mut success = Vec::with_capacity(1);
        success.push(match &self.value {
            Some(value) => put(key.clone(), value.clone(), self.lease),
            None => delete(key.clone()),
        });
        let mut failure = vec![read(key)];
        if let Some(guard) = &self.guard {
            let key = Bytes::copy_from_slice(guard.key.as_bytes());
            compare.push(at_revision(key.clone(), guard.revision));
            failure.push(read(key));
        }
        for companion in &self.companions {
            match companion {
                Companion::Create { key, value } => {
                    let key = Bytes::copy_from_slice(key.as_bytes());
                    compare.push(at_revision(key.clone(), 0));
                    failure.push(read(key.clone()));
                    success.push(put(key, value.clone(), 0));
                }
                Companion::Delete { key } => success.push(delete(Bytes::copy_from_slice(key.as_bytes()))),
                Companion::Unchanged { key, revision } => {
                    let key = Bytes::copy_from_slice(key.as_bytes());
                    compare.push(at_revision(key.clone(), *revision));
                    failure.push(read(key));
                }
            }
        }
        TxnRequest { compare, success, failure }
    }

    /// Reads the answer. `doubtful`: an earlier attempt of the same transaction may have committed unseen, so finding
    /// our own value (or, for a delete, nothing) means that it did.
    pub(crate) fn outcome(&self, response: TxnResponse, doubtful: bool) -> Result<Outcome, Error> {
        if response.succeeded {
            let revision = response.header.map(|header| header.revision).ok_or(Error::Protocol("no header"))?;
            return Ok(Outcome::Committed { revision, is_certain: true });
        }
        let mut ranges = response.responses.into_iter().map(|response| match response.response {
            Some(response_op::Response::ResponseRange(range)) => Ok(range.kvs.into_iter().next().map(Stored::from)),
            _ => Err(Error::Protocol("a range in a transaction was answered with something else")),
        });
        let mut next = || ranges.next().unwrap_or(Err(Error::Protocol("a transaction's answer is too short")));
        let current = next()?;
        if doubtful && let Some(revision) = self.committed_before(current.as_ref()) {
            return Ok(Outcome::Committed { revision, is_certain: false });
        }
        let differs = |stored: Option<Stored>, revision: i64| stored.map_or(0, |stored| stored.revision) != revision;
        let guard_failed = match &self.guard {
            Some(guard) => differs(next()?, guard.revision),
            None => false,
        };
        let mut companion_failed = false;
        for companion in &self.companions {
            companion_failed |= match companion {
                Companion::Create { .. } => differs(next()?, 0),
                Companion::Unchanged { revision, .. } => differs(next()?, *revision),
                Companion::Delete { .. } => false,
            };
        }
        Ok(Outcome::Refused { current, guard_failed, companion_failed })
    }

    fn committed_before(&self, current: Option<&Stored>) -> Option<i64> {
        match (&self.value, current) {
            (Some(ours), Some(stored)) if stored.value == *ours && stored.revision > self.expected => {
                Some(stored.revision)
            }
            // The revision of the delete itself is unknown; the one before it is true and lower.
            (None, None) => Some(self.expected),
            _ => None,
        }
    }
}

fn at_revision(key: Bytes, revision: i64) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Mod.into(),
        key,
        range_end: Bytes::new(),
        target_union: Some(compare::TargetUnion::ModRevision(revision)),
    }
}

fn put(key: Bytes, value: Bytes, lease: i64) -> RequestOp {
    RequestOp { request: Some(Request::RequestPut(PutRequest { key, value, lease, ..Default::default() })) }
}

fn delete(key: Bytes) -> RequestOp {
    RequestOp { request: Some(Request::RequestDeleteRange(DeleteRangeRequest { key, ..Default::default() })) }
}

fn read(key: Bytes) -> RequestOp {
    RequestOp { request: Some(Request::RequestRange(RangeRequest { key, ..Default::default() })) }
}

#[cfg(test)]
mod tests {
    use keelson_wire::etcdserverpb::{RangeResponse, ResponseHeader, ResponseOp};

    use super::*;

    fn write(value: Option<&'static str>) -> Write {
        let value = value.map(Bytes::from);
        Write { key: "/registry/pods/a/b".into(), expected: 7, value, guard: None, companions: Vec::new(), lease: 0 }
    }

    fn refused(found: &[Option<(&'static str, i64)>]) -> TxnResponse {
        let range = |found: &Option<(&'static str, i64)>| {
            let pair = |(value, revision): (&'static str, i64)| KeyValue {
                value: value.into(),
                mod_revision: revision,
                ..Default::default()
            };
            let range = RangeResponse { kvs: found.map(pair).into_iter().collect(), ..Default::default() };
            ResponseOp { response: Some(response_op::Response::ResponseRange(range)) }
        };
        let header = Some(ResponseHeader { revision: 99, ..Default::default() });
        TxnResponse { header, succeeded: false, responses: found.iter().map(range).collect() }
    }

    #[test]
    fn a_lost_answer_is_told_from_a_lost_race() {
        let ours = Some(("new", 9));
        let theirs = Some(("other", 9));
        let committed = |revision| Ok::<_, ()>(Outcome::Committed { revision, is_certain: false });
        let lost = |found: Option<(&'static str, i64)>| {
            let current = found.map(|(value, revision)| Stored { value: value.into(), create_revision: 0, revision });
            Ok::<_, ()>(Outcome::Refused { current, guard_failed: false, companion_failed: false })
        };
        let table = [
            (Some("new"), ours, true, committed(9)),
            (Some("new"), ours, false, lost(ours)),
            (Some("new"), theirs, true, lost(theirs)),
            (None, None, true, committed(7)),
            (None, None, false, lost(None)),
            (None, theirs, true, lost(theirs)),
        ];
        for (value, found, doubtful, expected) in table {
            let outcome = write(value).outcome(refused(&[found]), doubtful).map_err(|_| ());
            assert_eq!(outcome, expected, "{value:?} {found:?} {doubtful}");
        }
    }

    #[test]
    fn a_refusal_names_the_condition_that_failed() {
        let mut guarded = write(Some("new"));
        guarded.guard = Some(Condition { key: "/registry/leases/x".into(), revision: 5 });
        guarded.companions =
            vec![Companion::Delete { key: "gone".into() }, Companion::Create { key: "ip".into(), value: "{}".into() }];
        let request = guarded.to_request();
        assert_eq!((request.compare.len(), request.success.len(), request.failure.len()), (3, 3, 3));
        for (guard, ip, expected) in
            [(5, None, (false, false)), (6, None, (true, false)), (5, Some(("x", 3)), (false, true))]
        {
            let response = refused(&[Some(("old", 7)), Some(("lease", guard)), ip]);
            match guarded.outcome(response, false) {
                Ok(Outcome::Refused { guard_failed, companion_failed, .. }) => {
                    assert_eq!((guard_failed, companion_failed), expected);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
