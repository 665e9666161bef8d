//! Transactions: which branch is taken, and whether it can be.
//!
//! As in etcd, the compares of nested transactions are judged before anything is changed, and a branch that cannot be
//! carried out is refused as a whole.

use keelson_wire::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelson_wire::etcdserverpb::request_op::Request;
use keelson_wire::etcdserverpb::response_op::Response;
use keelson_wire::etcdserverpb::{Compare, RequestOp, ResponseHeader, ResponseOp, TxnRequest, TxnResponse};
use keelson_wire::mvccpb::KeyValue;

use super::range::{Error, range};
use super::{KeyRange, State, Values};
use crate::refusal::Refusal;

/// The branch of a transaction that is taken, and those of the transactions nested in it, in their order.
pub struct Path {
    pub succeeded: bool,
    pub nested: Vec<Path>,
}

impl Path {
    pub fn choose(state: &State, values: &impl Values, txn: &TxnRequest) -> Result<Self, Error> {
        let mut succeeded = true;
        for compare in &txn.compare {
            if !holds(state, values, compare)? {
                succeeded = false;
                break;
            }
        }
        let mut nested = Vec::new();
        for operation in branch(txn, succeeded) {
            if let Some(Request::RequestTxn(txn)) = &operation.request {
                nested.push(Self::choose(state, values, txn)?);
            }
        }
        Ok(Self { succeeded, nested })
    }

    /// Whether each operation on the path can be carried out. As in etcd, all puts are looked at before any range: which
    /// of two faults is told depends on it.
    pub fn check(&self, state: &State, values: &impl Values, txn: &TxnRequest) -> Result<(), Refusal> {
        let is_there = |key: &[u8]| state.keys.get(key).is_some_and(|indexed| indexed.at(values.horizon()).is_some());
        self.check_each(txn, &|request| match request {
            Request::RequestPut(put) if (put.ignore_value || put.ignore_lease) && !is_there(&put.key) => {
                Err(Refusal::KeyNotFound)
            }
            Request::RequestPut(put) if put.lease != 0 && !state.leases.contains_key(&put.lease) => {
                Err(Refusal::LeaseNotFound)
            }
            _ => Ok(()),
        })?;
        self.check_each(txn, &|request| match request {
            Request::RequestRange(range) if range.revision > state.revision => Err(Refusal::FutureRevision),
            Request::RequestRange(range) if range.revision > 0 && range.revision < state.compacted => {
                Err(Refusal::Compacted)
            }
            _ => Ok(()),
        })
    }

    fn check_each(&self, txn: &TxnRequest, check: &impl Fn(&Request) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut nested = self.nested.iter();
        for operation in branch(txn, self.succeeded) {
            match &operation.request {
                Some(Request::RequestTxn(txn)) => {
                    if let Some(path) = nested.next() {
                        path.check_each(txn, check)?;
                    }
                }
                Some(request) => check(request)?,
                None => {}
            }
        }
        Ok(())
    }
}

/// Answers a transaction that changes nothing from a picture. It is refused as compacted also if the picture was overtaken
/// by a compaction: then the next picture has the answer.
pub fn read_txn(state: &State, txn: &TxnRequest) -> Result<TxnResponse, Error> {
    let path = Path::choose(state, state, txn)?;
    path.check(state, state, txn)?;
    let response = read_branch(state, txn, &path)?;
    if state.is_overtaken() {
        return Err(Refusal::Compacted.into());
    }
    let header = ResponseHeader { revision: state.revision, ..Default::default() };
    Ok(TxnResponse { header: Some(header), ..response })
}

fn read_branch(state: &State, txn: &TxnRequest, path: &Path) -> Result<TxnResponse, Error> {
    let mut nested = path.nested.iter();
    let mut responses = Vec::new();
    for operation in branch(txn, path.succeeded) {
        let response = match &operation.request {
            Some(Request::RequestRange(request)) => Some(Response::ResponseRange(range(state, state, request)?)),
            Some(Request::RequestTxn(txn)) => match nested.next() {
                Some(path) => Some(Response::ResponseTxn(read_branch(state, txn, path)?)),
                None => None,
            },
            _ => None,
        };
        responses.push(ResponseOp { response });
    }
    Ok(TxnResponse { header: Some(ResponseHeader::default()), succeeded: path.succeeded, responses })
}

pub fn branch(txn: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &txn.success } else { &txn.failure }
}

fn holds(state: &State, values: &impl Values, compare: &Compare) -> Result<bool, Error> {
    let keys = KeyRange::new(compare.key.clone(), compare.range_end.clone()).keys(state);
    let by_value = compare.target() == CompareTarget::Value;
    let mut any = false;
    for indexed in keys.iter() {
        let Some(seen) = indexed.at(values.horizon()) else { continue };
        any = true;
        let kv = match seen.described(indexed.key()) {
            Some(kv) if !by_value => kv,
            _ => match values.value(seen.revision)? {
                Some(kv) => kv,
                None if state.keys.is_trimmed_beyond(values.horizon()) => return Err(Refusal::Compacted.into()),
                None => return Err(Refusal::Corrupt.into()),
            },
        };
        if !holds_for(compare, &kv) {
            return Ok(false);
        }
    }
    // A key that is not there has revisions, version and lease 0, but no value, not even an empty one.
    Ok(any || (!by_value && holds_for(compare, &KeyValue::default())))
}

fn holds_for(compare: &Compare, kv: &KeyValue) -> bool {
    let wanted = compare.target_union.as_ref();
    let order = match compare.target() {
        CompareTarget::Version => kv.version.cmp(&match wanted {
            Some(TargetUnion::Version(version)) => *version,
            _ => 0,
        }),
        CompareTarget::Create => kv.create_revision.cmp(&match wanted {
            Some(TargetUnion::CreateRevision(revision)) => *revision,
            _ => 0,
        }),
        CompareTarget::Mod => kv.mod_revision.cmp(&match wanted {
            Some(TargetUnion::ModRevision(revision)) => *revision,
            _ => 0,
        }),
        CompareTarget::Value => kv.value.as_ref().cmp(match wanted {
            Some(TargetUnion::Value(value)) => value.as_ref(),
            _ => &[],
        }),
        CompareTarget::Lease => kv.lease.cmp(&match wanted {
            Some(TargetUnion::Lease(lease)) => *lease,
            _ => 0,
        }),
    };
    match compare.result() {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
