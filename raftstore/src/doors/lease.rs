//! etcdserverpb.Lease.

use std::sync::Arc;

use keelson_wire::etcdserverpb::lease_server;
use keelson_wire::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};
use keelson_wire::raft::command::Change;
use keelson_wire::raft::outcome::Result as Outcome;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Requests;
use crate::leases::MAX_TTL;
use crate::refusal::Refusal;

pub struct Lease(pub Arc<Requests>);

/// An id that no lease has yet is one of 2^63; the command refuses one that exists.
fn random_id() -> i64 {
    use std::hash::{BuildHasher as _, RandomState};
    let random = RandomState::new().hash_one(std::time::SystemTime::now());
    ((random >> 1) as i64).max(1)
}

#[tonic::async_trait]
impl lease_server::Lease for Lease {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Result<Response<LeaseGrantResponse>, Status> {
        let mut request = request.into_inner();
        if request.ttl > MAX_TTL {
            return Err(Refusal::LeaseTtlTooLarge.into());
        }
        request.ttl = request.ttl.max(self.0.leases().min_ttl());
        if request.id == 0 {
            request.id = random_id();
        }
        let Outcome::LeaseGrant(mut response) = self.0.propose(Change::LeaseGrant(request)).await? else {
            return Err(Status::internal("a grant was answered with something else"));
        };
        self.0.complete(&mut response.header);
        Ok(Response::new(response))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let outcome = self.0.propose(Change::LeaseRevoke(request.into_inner())).await?;
        let Outcome::LeaseRevoke(mut response) = outcome else {
            return Err(Status::internal("a revocation was answered with something else"));
        };
        self.0.complete(&mut response.header);
        Ok(Response::new(response))
    }

    type LeaseKeepAliveStream = ReceiverStream<Result<LeaseKeepAliveResponse, Status>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (responses, stream) = mpsc::channel(16);
        let requests = self.0.clone();
        let mut incoming = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(LeaseKeepAliveRequest { id })) = incoming.message().await {
                let response = match requests.leases().renew(id).await {
                    Ok(ttl) => Ok(LeaseKeepAliveResponse { header: requests.header_now(), id, ttl }),
                    Err(refusal) => Err(refusal.into()),
                };
                let failed = response.is_err();
                if responses.send(response).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        self.0.consensus().read_barrier().await?;
        let (ttl, granted_ttl) = self.0.leases().remaining(id).await?;
        let state = self.0.machine().state();
        let keys = match state.leases.get(&id) {
            Some(lease) if keys => lease.keys.iter().cloned().collect(),
            _ => Vec::new(),
        };
        let header = Some(self.0.header(state.revision));
        Ok(Response::new(LeaseTimeToLiveResponse { header, id, ttl, granted_ttl, keys }))
    }

    async fn lease_leases(
        &self,
        _request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        self.0.consensus().read_barrier().await?;
        let state = self.0.machine().state();
        let leases = state.leases.keys().map(|id| LeaseStatus { id: *id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: Some(self.0.header(state.revision)), leases }))
    }
}
