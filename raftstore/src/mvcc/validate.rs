//! What a request must be before it is proposed: etcd's own checks, in its order.

use keelson_wire::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelson_wire::etcdserverpb::request_op::Request;
use keelson_wire::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};

use super::KeyRange;
use crate::refusal::Refusal;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_txn_ops: usize,
    pub max_request_bytes: usize,
}

/// Nested transactions are decoded recursively; etcd has no limit of its own here.
const MAX_NESTING: usize = 16;

pub fn check_range(request: &RangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if SortOrder::try_from(request.sort_order).is_err() || SortTarget::try_from(request.sort_target).is_err() {
        return Err(Refusal::InvalidSortOption);
    }
    Ok(())
}

pub fn check_put(request: &PutRequest) -> Result<(), Refusal> {
    if request.key.is_empty() {
        return Err(Refusal::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Refusal::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Refusal::LeaseProvided);
    }
    Ok(())
}

pub fn check_delete_range(request: &DeleteRangeRequest) -> Result<(), Refusal> {
    if request.key.is_empty() { Err(Refusal::EmptyKey) } else { Ok(()) }
}

pub fn check_txn(request: &TxnRequest, limits: Limits) -> Result<(), Refusal> {
    check_shape(request, limits, 0)?;
    for branch in [&request.success, &request.failure] {
        changes_of(branch)?;
    }
    Ok(())
}

/// Whether no branch changes anything, so that it need not go through the log.
pub fn is_read_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|operation| match &operation.request {
        Some(Request::RequestRange(_)) | None => true,
        Some(Request::RequestTxn(nested)) => is_read_only(nested),
        Some(Request::RequestPut(_) | Request::RequestDeleteRange(_)) => false,
    })
}

/// Whether every read of a read-only transaction is content with what this member has.
pub fn is_serializable(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|operation| match &operation.request {
        Some(Request::RequestRange(range)) => range.serializable,
        Some(Request::RequestTxn(nested)) => is_serializable(nested),
        _ => true,
    })
}

fn check_shape(request: &TxnRequest, limits: Limits, depth: usize) -> Result<(), Refusal> {
    let operations = request.compare.len().max(request.success.len()).max(request.failure.len());
    if operations > limits.max_txn_ops || depth > MAX_NESTING {
        return Err(Refusal::TooManyOps);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Refusal::EmptyKey);
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(Request::RequestRange(range)) => check_range(range)?,
            Some(Request::RequestPut(put)) => check_put(put)?,
            Some(Request::RequestDeleteRange(delete)) => check_delete_range(delete)?,
            Some(Request::RequestTxn(nested)) => check_shape(nested, limits, depth + 1)?,
            // What this version does not know.
            None => return Err(Refusal::KeyNotFound),
        }
    }
    Ok(())
}

/// The keys put and the ranges deleted by one branch and what is nested in it: no key may be put twice, nor be put and
/// deleted. Two nested branches of which one at most runs may put the same key.
#[derive(Default)]
struct Changes {
    puts: Vec<bytes::Bytes>,
    deletes: Vec<KeyRange>,
}

fn changes_of(operations: &[RequestOp]) -> Result<Changes, Refusal> {
    let mut all = Changes::default();
    let mut nested = Vec::new();
    for operation in operations {
        match &operation.request {
            Some(Request::RequestPut(put)) => all.puts.push(put.key.clone()),
            Some(Request::RequestDeleteRange(delete)) => {
                all.deletes.push(KeyRange::new(delete.key.clone(), delete.range_end.clone()));
            }
            Some(Request::RequestTxn(txn)) => nested.push((changes_of(&txn.success)?, changes_of(&txn.failure)?)),
            Some(Request::RequestRange(_)) | None => {}
        }
    }
    all.puts.sort_unstable();
    if all.puts.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refusal::DuplicateKey);
    }
    all.judge_against(&Changes { puts: all.puts.clone(), deletes: Vec::new() }, false)?;
    for (success, failure) in nested {
        let mut both = success;
        all.judge_against(&both, true)?;
        all.judge_against(&failure, true)?;
        both.puts.extend(failure.puts);
        both.puts.sort_unstable();
        both.puts.dedup();
        both.deletes.extend(failure.deletes);
        all.puts.extend(both.puts);
        all.puts.sort_unstable();
        all.deletes.extend(both.deletes);
    }
    Ok(all)
}

impl Changes {
    fn judge_against(&self, other: &Self, puts_too: bool) -> Result<(), Refusal> {
        let deleted = |deletes: &[KeyRange], puts: &[bytes::Bytes]| {
            puts.iter().any(|key| deletes.iter().any(|range| range.contains(key)))
        };
        let put_twice = puts_too && other.puts.iter().any(|key| self.puts.binary_search(key).is_ok());
        if put_twice || deleted(&self.deletes, &other.puts) || deleted(&other.deletes, &self.puts) {
            return Err(Refusal::DuplicateKey);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const LIMITS: Limits = Limits { max_txn_ops: 4, max_request_bytes: 1 << 20 };

    fn put(key: &'static str) -> RequestOp {
        let put = PutRequest { key: Bytes::from_static(key.as_bytes()), ..Default::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn delete(key: &'static str, range_end: &'static str) -> RequestOp {
        let delete = DeleteRangeRequest { key: key.into(), range_end: range_end.into(), prev_kv: false };
        RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        let txn = TxnRequest { compare: Vec::new(), success, failure };
        RequestOp { request: Some(Request::RequestTxn(txn)) }
    }

    #[test]
    fn transactions_are_judged_as_etcd_judges_them() {
        let table: [(&str, Vec<RequestOp>, Result<(), Refusal>); 9] = [
            ("two keys", vec![put("a"), put("b")], Ok(())),
            ("a key twice", vec![put("a"), put("a")], Err(Refusal::DuplicateKey)),
            ("put and deleted", vec![put("b"), delete("a", "c")], Err(Refusal::DuplicateKey)),
            ("put beside what is deleted", vec![put("c"), delete("a", "c")], Ok(())),
            ("either branch", vec![nested(vec![put("a")], vec![put("a")])], Ok(())),
            ("outside and nested", vec![put("a"), nested(vec![], vec![put("a")])], Err(Refusal::DuplicateKey)),
            (
                "deleted by a nested one",
                vec![put("a"), nested(vec![delete("a", "")], vec![])],
                Err(Refusal::DuplicateKey),
            ),
            ("no key", vec![put("")], Err(Refusal::EmptyKey)),
            ("too many", vec![put("a"), put("b"), put("c"), put("d"), put("e")], Err(Refusal::TooManyOps)),
        ];
        for (name, success, expected) in table {
            let txn = TxnRequest { success, ..Default::default() };
            assert_eq!(check_txn(&txn, LIMITS), expected, "{name}");
        }
    }
}
