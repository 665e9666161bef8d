//! etcdserverpb.Maintenance: how a member is, and what an operator may have it do.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use keelson_wire::etcdserverpb::alarm_request::AlarmAction;
use keelson_wire::etcdserverpb::maintenance_server;
use keelson_wire::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmResponse, AlarmType, DefragmentRequest, DefragmentResponse, HashKvRequest,
    HashKvResponse, HashRequest, HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotRequest,
    SnapshotResponse, StatusRequest, StatusResponse,
};
use tonic::{Request, Response, Status};

use super::Requests;
use crate::mvcc::hash_kv;

/// The version of etcd's API that this is; clients choose by it what they may ask. It is the first of 3.5 of which a
/// kube-apiserver asks that a watch tell its progress.
const API_VERSION: &str = "3.5.13";

pub struct Maintenance(pub Arc<Requests>);

fn failed(error: impl std::fmt::Display) -> Status {
    tracing::error!(%error, "maintenance failed");
    Status::internal(error.to_string())
}

impl Maintenance {
    async fn hash(&self, revision: i64) -> Result<HashKvResponse, Status> {
        let state = self.0.machine().state();
        let now = state.revision;
        let hashed = tokio::task::spawn_blocking(move || hash_kv(&state, revision)).await.map_err(failed)?;
        let hashed = hashed.map_err(|error| match error {
            crate::mvcc::Error::Refused(refusal) => refusal.into(),
            crate::mvcc::Error::Disk(error) => failed(error),
        })?;
        Ok(HashKvResponse {
            header: Some(self.0.header(now)),
            hash: hashed.hash,
            // etcd's word for "never".
            compact_revision: if hashed.compacted == 0 { -1 } else { hashed.compacted },
            hash_revision: hashed.revision,
        })
    }
}

#[tonic::async_trait]
impl maintenance_server::Maintenance for Maintenance {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let request = request.into_inner();
        if request.action() != AlarmAction::Get {
            return Ok(Response::new(self.0.alarm(request).await?));
        }
        let state = self.0.machine().state();
        let asked = |(member_id, alarm): &(u64, i32)| {
            (request.member_id == 0 || request.member_id == *member_id)
                && (request.alarm == AlarmType::None as i32 || request.alarm == *alarm)
        };
        let alarms = state.alarms.iter().copied().filter(asked);
        let alarms = alarms.map(|(member_id, alarm)| AlarmMember { member_id, alarm }).collect();
        Ok(Response::new(AlarmResponse { header: Some(self.0.header(state.revision)), alarms }))
    }

    async fn status(&self, _request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let consensus = self.0.consensus();
        let leadership = consensus.leadership();
        let state = self.0.machine().state();
        let on_disk = state.storage.size_on_disk().map_err(failed)?;
        let mut errors: Vec<String> = state
            .alarms
            .iter()
            .filter_map(|(member_id, alarm)| {
                let alarm = AlarmType::try_from(*alarm).ok()?;
                Some(format!("memberID:{member_id} alarm:{} ", alarm.as_str_name()))
            })
            .collect();
        if leadership.leader.is_none() {
            errors.push(crate::refusal::Refusal::NoLeader.to_string());
        }
        Ok(Response::new(StatusResponse {
            header: Some(self.0.header(state.revision)),
            version: API_VERSION.to_owned(),
            db_size: on_disk as i64,
            leader: leadership.leader.unwrap_or(0),
            raft_index: consensus.last_log_index(),
            raft_term: leadership.term,
            raft_applied_index: state.applied_index(),
            errors,
            db_size_in_use: state.live_bytes as i64,
            is_learner: leadership.is_learner,
        }))
    }

    async fn defragment(&self, _request: Request<DefragmentRequest>) -> Result<Response<DefragmentResponse>, Status> {
        let machine = self.0.machine().clone();
        let done = tokio::task::spawn_blocking(move || machine.defragment()).await.map_err(failed)?;
        done.map_err(failed)?;
        Ok(Response::new(DefragmentResponse { header: self.0.header_now() }))
    }

    async fn hash(&self, _request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        let hashed = self.hash(0).await?;
        Ok(Response::new(HashResponse { header: hashed.header, hash: hashed.hash }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        Ok(Response::new(self.hash(request.into_inner().revision).await?))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn snapshot(&self, _request: Request<SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        Ok(Response::new(crate::backup::stream(self.0.clone())))
    }

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Result<Response<MoveLeaderResponse>, Status> {
        self.0.consensus().move_leader(request.into_inner().target_id).await?;
        Ok(Response::new(MoveLeaderResponse { header: self.0.header_now() }))
    }
}
