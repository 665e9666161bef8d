//! What clients ask, whichever way it came: checked, then read from a picture or proposed to the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use keelson_wire::etcdserverpb::alarm_request::AlarmAction;
use keelson_wire::etcdserverpb::request_op::Request;
use keelson_wire::etcdserverpb::{
    AlarmRequest, AlarmResponse, AlarmType, CompactionRequest, CompactionResponse, DeleteRangeRequest,
    DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
};
use keelson_wire::raft as wire;
use keelson_wire::raft::command::Change;
use keelson_wire::raft::outcome::Result as Outcome;
use prost::Message as _;
use tonic::{Code, Status};

use crate::failpoints::{Bug, planted};
use crate::leases::Leases;
use crate::mvcc::{
    self, Limits, State, check_delete_range, check_put, check_range, check_txn, is_read_only, is_serializable, read_txn,
};
use crate::raft::{Consensus, Machine};
use crate::refusal::Refusal;

pub struct Requests {
    consensus: Arc<Consensus>,
    leases: Leases,
    limits: Limits,
}

fn unexpected() -> Status {
    Status::internal("a command was answered with another command's outcome")
}

fn read_failed(error: mvcc::Error) -> Status {
    match error {
        mvcc::Error::Refused(refusal) => refusal.into(),
        mvcc::Error::Disk(error) => {
            tracing::error!(%error, "a read failed");
            Status::internal(error.to_string())
        }
    }
}

impl Requests {
    pub fn new(consensus: Arc<Consensus>, leases: Leases, limits: Limits) -> Self {
        Self { consensus, leases, limits }
    }

    pub fn consensus(&self) -> &Arc<Consensus> {
        &self.consensus
    }

    pub fn machine(&self) -> &Arc<Machine> {
        self.consensus.machine()
    }

    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.consensus.cluster_id(),
            member_id: self.consensus.id(),
            revision,
            raft_term: self.consensus.leadership().term,
        }
    }

    pub fn header_now(&self) -> Option<ResponseHeader> {
        Some(self.header(self.machine().revision()))
    }

    /// The header of an answer that tells its revision already.
    pub fn complete(&self, header: &mut Option<ResponseHeader>) {
        let revision = header.as_ref().map_or(0, |header| header.revision);
        *header = Some(self.header(revision));
    }

    /// The picture that a read is answered from.
    async fn picture(&self, serializable: bool) -> Result<State, Refusal> {
        if !serializable && !planted(Bug::StaleRead) {
            self.consensus.read_barrier().await?;
        }
        Ok(self.machine().state())
    }

    /// Reads from a picture, and from the next one if a compaction has overtaken it.
    async fn read<T>(&self, serializable: bool, from: impl Fn(&State) -> Result<T, mvcc::Error>) -> Result<T, Status> {
        let _present = self.consensus.enter();
        loop {
            let state = self.picture(serializable).await?;
            match from(&state) {
                Err(mvcc::Error::Refused(Refusal::Compacted)) if state.is_overtaken() => {}
                read => return read.map_err(read_failed),
            }
        }
    }

    pub async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Status> {
        check_range(request)?;
        let mut response = self.read(request.serializable, |state| mvcc::range(state, state, request)).await?;
        self.complete(&mut response.header);
        Ok(response)
    }

    pub async fn read_index(&self) -> Result<ResponseHeader, Status> {
        let _present = self.consensus.enter();
        let state = self.picture(false).await?;
        Ok(self.header(state.revision))
    }

    pub async fn put(&self, request: PutRequest) -> Result<PutResponse, Status> {
        check_put(&request)?;
        let Outcome::Put(mut response) = self.propose(Change::Put(request)).await? else {
            return Err(unexpected());
        };
        self.complete(&mut response.header);
        Ok(response)
    }

    pub async fn delete_range(&self, request: DeleteRangeRequest) -> Result<DeleteRangeResponse, Status> {
        check_delete_range(&request)?;
        let Outcome::DeleteRange(mut response) = self.propose(Change::DeleteRange(request)).await? else {
            return Err(unexpected());
        };
        self.complete(&mut response.header);
        Ok(response)
    }

    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        check_txn(&request, self.limits)?;
        let mut response = if is_read_only(&request) {
            self.read(is_serializable(&request), |state| read_txn(state, &request)).await?
        } else {
            let Outcome::Txn(response) = self.propose(Change::Txn(request)).await? else {
                return Err(unexpected());
            };
            response
        };
        self.complete(&mut response.header);
        Ok(response)
    }

    pub async fn compact(&self, request: CompactionRequest) -> Result<CompactionResponse, Status> {
        let physical = request.physical;
        let Outcome::Compaction(mut response) = self.propose(Change::Compaction(request)).await? else {
            return Err(unexpected());
        };
        if physical {
            let machine = self.machine().clone();
            let swept = tokio::task::spawn_blocking(move || {
                while machine.compact_step()? {}
                Ok::<_, crate::disk::Error>(())
            });
            let outcome = swept.await.map_err(|error| Status::internal(error.to_string()))?;
            outcome.map_err(|error| Status::internal(error.to_string()))?;
        }
        self.complete(&mut response.header);
        Ok(response)
    }

    pub async fn alarm(&self, request: AlarmRequest) -> Result<AlarmResponse, Status> {
        let Outcome::Alarm(mut response) = self.propose(Change::Alarm(request)).await? else {
            return Err(unexpected());
        };
        self.complete(&mut response.header);
        Ok(response)
    }

    /// Commits a change and hands out what it came to, refusals as errors.
    pub async fn propose(&self, change: Change) -> Result<Outcome, Status> {
        let _present = self.consensus.enter();
        if grows(&change) {
            if change_len(&change) > self.limits.max_request_bytes {
                return Err(Refusal::RequestTooLarge.into());
            }
            self.check_space(&change).await?;
        }
        let outcome = self.consensus.propose(wire::Command { change: Some(change) }).await?;
        match outcome.result {
            Some(Outcome::Refusal(refusal)) => Err(Status::new(Code::from_i32(refusal.code), refusal.message)),
            Some(outcome) => Ok(outcome),
            None => Err(unexpected()),
        }
    }

    /// With the alarm raised nothing may grow, on any member, until it is disarmed. Deletes and compactions go on.
    async fn check_space(&self, change: &Change) -> Result<(), Status> {
        let alarm = AlarmType::Nospace as i32;
        let (raised, live_bytes) = self.machine().space(alarm);
        let quota = self.consensus.settings().quota;
        let over_quota = live_bytes + change_len(change) as u64 > quota;
        let low_space = self.consensus.log().progress().low_space.load(Ordering::Acquire);
        if !over_quota && !low_space {
            return if raised { Err(Refusal::NoSpace.into()) } else { Ok(()) };
        }
        if !raised {
            tracing::warn!(live_bytes, quota, low_space, "no space: raising the alarm");
            let member_id = self.consensus.id();
            let activate = AlarmRequest { action: AlarmAction::Activate as i32, member_id, alarm };
            let command = wire::Command { change: Some(Change::Alarm(activate)) };
            self.consensus.propose(command).await?;
        }
        Err(Refusal::NoSpace.into())
    }
}

/// The part of a change that its size depends on.
fn change_len(change: &Change) -> usize {
    match change {
        Change::Put(put) => put.encoded_len(),
        Change::Txn(txn) => txn.encoded_len(),
        _ => 0,
    }
}

fn grows(change: &Change) -> bool {
    match change {
        Change::Put(_) | Change::LeaseGrant(_) => true,
        Change::Txn(txn) => has_put(txn),
        _ => false,
    }
}

fn has_put(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|operation| match &operation.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => has_put(nested),
        _ => false,
    })
}
