//! The peer door of a member that does not take part yet.
//!
//! The socket is open from the start, so that founding members find each other while each of them looks whether it is new
//! ([`novelty`](crate::novelty)); but nothing of Raft is answered before that is known: a member that has lost its data
//! would vote a second time, and would count for entries that it no longer has.

use std::future::{Ready, ready};
use std::sync::{Arc, OnceLock};

use keelson_wire::codec::FittingCodec;
use keelson_wire::raft as wire;
use keelson_wire::raft::raft_server::RaftServer;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tower::Service as _;

use super::peer_door::PeerDoor;
use crate::doors::{Answer, Answers, Incoming};

/// Cheap to clone: all clones open together.
#[derive(Clone)]
pub struct Entrance {
    cluster_id: u64,
    /// This member has no data.
    is_young: bool,
    door: Arc<OnceLock<RaftServer<PeerDoor>>>,
}

impl Entrance {
    pub fn new(cluster_id: u64, is_young: bool) -> Self {
        Self { cluster_id, is_young, door: Arc::default() }
    }

    /// From now on the door answers. It opens once.
    pub fn open(&self, door: RaftServer<PeerDoor>) {
        let _ = self.door.set(door);
    }
}

impl Answers for Entrance {
    fn answer(&self, request: http::Request<Incoming>) -> Answer {
        if let Some(door) = self.door.get() {
            return door.clone().call(request);
        }
        let young = self.is_young.then_some(Young { cluster_id: self.cluster_id });
        Box::pin(async move {
            match young.filter(|_| request.uri().path().ends_with("/Identify")) {
                Some(young) => Ok(Grpc::new(FittingCodec::default()).unary(young, request).await),
                None => Ok(Status::unavailable("this member is starting").into_http()),
            }
        })
    }
}

/// What a member says of itself that knows nothing but its flags.
struct Young {
    cluster_id: u64,
}

impl UnaryService<wire::IdentifyRequest> for Young {
    type Response = wire::IdentifyResponse;
    type Future = Ready<Result<Response<wire::IdentifyResponse>, Status>>;

    fn call(&mut self, _: Request<wire::IdentifyRequest>) -> Self::Future {
        let (cluster_id, members) = (self.cluster_id, Vec::new());
        ready(Ok(Response::new(wire::IdentifyResponse { cluster_id, members, is_young: true, knows_asker: None })))
    }
}
