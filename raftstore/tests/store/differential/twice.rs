//! Whether a transaction may change a key twice.
//!
//! raftstore refuses every one of those. etcd 3.4 refuses most: it looks at the deletes of a nested transaction only after
//! its puts and before those that follow, and never at ranges without an end. So those are picked by hand, and the seeded
//! ones are such as neither has a reason to refuse.

use bytes::Bytes;
use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::request_op::Request;
use raftstore::mvcc::KeyRange;

struct Change<'t> {
    /// The nested transactions around it, each by its place and the branch.
    path: Vec<(usize, bool)>,
    what: What<'t>,
}

enum What<'t> {
    Put(&'t Bytes),
    Delete(KeyRange),
}

impl Change<'_> {
    /// Only one of the two can happen: they are in opposite branches of one transaction.
    fn excludes(&self, other: &Self) -> bool {
        let parting = self.path.iter().zip(&other.path).find(|(own, other)| own != other);
        parting.is_some_and(|((own, _), (other, _))| own == other)
    }

    fn meets(&self, other: &Self) -> bool {
        match (&self.what, &other.what) {
            (What::Put(key), What::Put(other)) => key == other,
            (What::Put(key), What::Delete(range)) | (What::Delete(range), What::Put(key)) => range.contains(key),
            (What::Delete(..), What::Delete(..)) => false,
        }
    }
}

fn collect<'t>(operations: &'t [etcd::RequestOp], path: &[(usize, bool)], all: &mut Vec<Change<'t>>) {
    for (place, operation) in operations.iter().enumerate() {
        let mut add = |what| all.push(Change { path: path.to_vec(), what });
        match &operation.request {
            Some(Request::RequestPut(put)) => add(What::Put(&put.key)),
            Some(Request::RequestDeleteRange(delete)) => {
                add(What::Delete(KeyRange::new(delete.key.clone(), delete.range_end.clone())));
            }
            Some(Request::RequestTxn(nested)) => {
                for (branch, operations) in [(true, &nested.success), (false, &nested.failure)] {
                    let inside: Vec<_> = path.iter().copied().chain([(place, branch)]).collect();
                    collect(operations, &inside, all);
                }
            }
            Some(Request::RequestRange(_)) | None => {}
        }
    }
}

pub fn may_change_a_key_twice(txn: &etcd::TxnRequest) -> bool {
    [&txn.success, &txn.failure].into_iter().any(|branch| {
        let mut changes = Vec::new();
        collect(branch, &[], &mut changes);
        changes.iter().enumerate().any(|(place, change)| {
            changes[place + 1..].iter().any(|other| !change.excludes(other) && change.meets(other))
        })
    })
}
