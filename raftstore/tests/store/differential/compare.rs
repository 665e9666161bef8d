//! Answers in a form that can be compared.
//!
//! Left out: the ids of cluster and member and the term, which each store has of its own; the seconds that a lease has
//! left, which depend on the moment; the hash of the data, of which each store has its own kind. Leases are listed by
//! etcd in the order of their end, here by id: they are compared as sets.

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::response_op::Response as Answered;
use tonic::{Response, Status};

/// An answer or a refusal, in words.
#[derive(Debug)]
pub struct Answer {
    pub text: String,
    /// The header's, if it was no refusal.
    pub revision: Option<i64>,
}

pub trait Described {
    fn described(self) -> Answer;
}

pub trait Comparable: std::fmt::Debug {
    fn header(&self) -> Option<etcd::ResponseHeader>;
    /// Takes out what is not compared.
    fn strip(&mut self);
}

impl<Message: Comparable> Described for Result<Response<Message>, Status> {
    fn described(self) -> Answer {
        match self {
            Ok(response) => {
                let mut message = response.into_inner();
                let revision = message.header().map(|header| header.revision);
                message.strip();
                Answer { text: format!("{message:?}"), revision }
            }
            Err(status) => Answer { text: format!("{:?}: {}", status.code(), status.message()), revision: None },
        }
    }
}

pub fn strip_header(header: &mut Option<etcd::ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

fn strip_nested(responses: &mut [etcd::ResponseOp]) {
    for response in responses {
        match &mut response.response {
            Some(Answered::ResponseRange(range)) => strip_header(&mut range.header),
            Some(Answered::ResponsePut(put)) => strip_header(&mut put.header),
            Some(Answered::ResponseDeleteRange(delete)) => strip_header(&mut delete.header),
            Some(Answered::ResponseTxn(txn)) => {
                strip_header(&mut txn.header);
                strip_nested(&mut txn.responses);
            }
            None => {}
        }
    }
}

macro_rules! comparable {
    ($($message:ident: $strip:expr;)*) => {$(
        impl Comparable for etcd::$message {
            fn header(&self) -> Option<etcd::ResponseHeader> {
                self.header.clone()
            }

            fn strip(&mut self) {
                strip_header(&mut self.header);
                let strip: fn(&mut Self) = $strip;
                strip(self);
            }
        }
    )*};
}

comparable! {
    RangeResponse: |_| {};
    PutResponse: |_| {};
    DeleteRangeResponse: |_| {};
    TxnResponse: |txn| strip_nested(&mut txn.responses);
    CompactionResponse: |_| {};
    LeaseGrantResponse: |_| {};
    LeaseRevokeResponse: |_| {};
    LeaseKeepAliveResponse: |_| {};
    LeaseTimeToLiveResponse: |lease| {
        lease.ttl = lease.ttl.min(0);
        lease.keys.sort();
    };
    LeaseLeasesResponse: |leases| leases.leases.sort_by_key(|lease| lease.id);
    HashKvResponse: |hashed| (hashed.hash, hashed.hash_revision) = (0, 0);
    // etcd leaves the header out.
    AlarmResponse: |alarm| alarm.header = None;
    MoveLeaderResponse: |moved| moved.header = None;
    MemberAddResponse: |_| {};
    MemberRemoveResponse: |_| {};
    MemberUpdateResponse: |_| {};
    MemberPromoteResponse: |_| {};
}
