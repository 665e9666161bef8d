//! What the other members ask of this one.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use keelson_wire::raft as wire;
use keelson_wire::raft::append_response::Result as Appended;
use keelson_wire::raft::change_members_request::Change;
use keelson_wire::raft::raft_server::{Raft, RaftServer};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, TransferLeaderRequest, VoteRequest, VoteResponse};
use tonic::{Request, Response, Status, Streaming};

use super::codec::{self, log_id_to_wire, vote_to_wire};
use super::consensus::Consensus;
use super::machine::MachineSnapshot;
use super::network::MAX_PEER_MESSAGE;
use super::snapshot::{self, SnapshotData};
use super::snapshot_receiver::SnapshotReceiver;
use super::types::{Command, Peer, SnapshotMeta, StoredMembership, TypeConfig};
use crate::leases::Leases;

pub struct PeerDoor {
    consensus: Arc<Consensus>,
    leases: Leases,
    receiver: SnapshotReceiver,
}

fn malformed(error: codec::Error) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(super) fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

impl PeerDoor {
    pub fn service(consensus: Arc<Consensus>, leases: Leases) -> RaftServer<Self> {
        let receiver = SnapshotReceiver::new(consensus.machine().clone());
        let server = RaftServer::new(Self { consensus, leases, receiver });
        server.max_decoding_message_size(MAX_PEER_MESSAGE).max_encoding_message_size(MAX_PEER_MESSAGE)
    }

    /// A member of another cluster, or one that means another member, must change nothing here.
    fn check(&self, cluster_id: u64, target: Option<u64>) -> Result<(), Status> {
        let own = self.consensus.cluster_id();
        if cluster_id != own {
            tracing::warn!(theirs = format!("{cluster_id:x}"), own = format!("{own:x}"), "peer of another cluster");
            return Err(Status::failed_precondition("cluster ID mismatch"));
        }
        match target {
            Some(target) if target != self.consensus.id() => {
                Err(Status::failed_precondition("the request is meant for another member"))
            }
            _ => Ok(()),
        }
    }

    fn vote_request(&self, request: wire::VoteRequest) -> Result<VoteRequest<TypeConfig>, Status> {
        self.check(request.cluster_id, Some(request.target))?;
        let vote = codec::required_vote(request.vote).map_err(malformed)?;
        let mut ask = VoteRequest::new(vote, request.last_log_id.map(codec::log_id));
        ask.leadership_transfer = request.leadership_transfer;
        Ok(ask)
    }

    async fn receive(
        &self,
        mut chunks: Streaming<wire::SnapshotChunk>,
    ) -> Result<(wire::Vote, SnapshotHeadAndData), Status> {
        let mut chunk = chunks.message().await?.ok_or_else(|| Status::invalid_argument("an empty snapshot"))?;
        let head = chunk.head.take().ok_or_else(|| Status::invalid_argument("a snapshot without a head"))?;
        self.check(head.cluster_id, Some(head.target))?;
        if head.format != snapshot::FORMAT {
            return Err(Status::failed_precondition(format!("snapshot format {} is not known here", head.format)));
        }
        let vote = head.vote.ok_or_else(|| Status::invalid_argument("a snapshot without a vote"))?;
        let ticket = head.ticket;
        loop {
            if let Some(next) = self.receiver.take(ticket, chunk).await? {
                return Ok((vote, SnapshotHeadAndData { head, data: SnapshotData::Received(next) }));
            }
            chunk = chunks.message().await?.ok_or_else(|| Status::data_loss("the snapshot ended early"))?;
        }
    }
}

struct SnapshotHeadAndData {
    head: wire::SnapshotHead,
    data: SnapshotData,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Raft for PeerDoor {
    type AppendStream = Answers<wire::AppendResponse>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (own_cluster, own_id) = (self.consensus.cluster_id(), self.consensus.id());
        let beginning = (request.into_inner(), self.consensus.line());
        let requests = futures::stream::unfold(beginning, move |(mut incoming, mut line)| async move {
            let request: wire::AppendRequest = match incoming.message().await {
                Ok(Some(request)) => request,
                Ok(None) => {
                    line.has_ended();
                    return None;
                }
                Err(_) => return None,
            };
            if request.cluster_id != own_cluster || request.target != own_id {
                tracing::warn!(cluster = format!("{:x}", request.cluster_id), "a peer's stream is not meant for us");
                line.has_ended();
                return None;
            }
            match append_request(request) {
                Ok(request) => Some((request, (incoming, line))),
                Err(error) => {
                    tracing::error!(%error, "a peer's request cannot be decoded");
                    line.has_ended();
                    None
                }
            }
        });
        let requests = Box::pin(requests);
        let results = self.consensus.raft.stream_append(requests).map(|result| {
            let result = match result.map_err(stopped)? {
                Ok(last) => Appended::Appended(wire::Appended { last: last.as_ref().map(log_id_to_wire) }),
                Err(StreamAppendError::Conflict(id)) => Appended::Conflict(log_id_to_wire(&id)),
                Err(StreamAppendError::HigherVote(vote)) => Appended::HigherVote(vote_to_wire(&vote)),
            };
            Ok(wire::AppendResponse { result: Some(result) })
        });
        Ok(Response::new(Box::pin(results)))
    }

    async fn vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        let ask = self.vote_request(request.into_inner())?;
        let answer = self.consensus.raft.vote(ask).await.map_err(stopped)?;
        Ok(Response::new(vote_response(&answer)))
    }

    async fn pre_vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        let ask = self.vote_request(request.into_inner())?;
        let answer = self.consensus.raft.pre_vote(ask).await.map_err(stopped)?;
        if !answer.vote_granted {
            self.consensus.look_at_the_leader();
        }
        Ok(Response::new(vote_response(&answer)))
    }

    async fn begin_snapshot(
        &self,
        request: Request<wire::BeginSnapshotRequest>,
    ) -> Result<Response<wire::BeginSnapshotResponse>, Status> {
        let request = request.into_inner();
        self.check(request.cluster_id, Some(request.target))?;
        let vote = request.vote.ok_or_else(|| Status::invalid_argument("a snapshot without a vote"))?;
        Ok(Response::new(self.receiver.begin(vote, request.picture).await?))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let (vote, received) = self.receive(request.into_inner()).await?;
        let members = codec::membership(received.head.membership.unwrap_or_default()).map_err(malformed)?;
        let meta = SnapshotMeta {
            last_log_id: received.head.last_log_id.map(codec::log_id),
            last_membership: StoredMembership::new(received.head.membership_log_id.map(codec::log_id), members),
        };
        let snapshot = MachineSnapshot { meta, snapshot: received.data };
        let installed = self.consensus.raft.install_full_snapshot(codec::vote(vote), snapshot).await;
        let response = installed.map_err(stopped)?;
        Ok(Response::new(wire::SnapshotResponse { vote: Some(vote_to_wire(&response.vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        self.check(request.cluster_id, None)?;
        let from = codec::required_vote(request.from_leader).map_err(malformed)?;
        let request = TransferLeaderRequest::new(from, request.target, request.last_log_id.map(codec::log_id));
        let taken = self.consensus.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        let rejected = taken.err().map_or_else(String::new, |error| error.to_string());
        Ok(Response::new(wire::TransferLeaderResponse { rejected }))
    }

    async fn vote_of(&self, request: Request<wire::VoteOfRequest>) -> Result<Response<wire::VoteOfResponse>, Status> {
        let request = request.into_inner();
        self.check(request.cluster_id, Some(request.target))?;
        Ok(Response::new(wire::VoteOfResponse { vote: self.consensus.vote() }))
    }

    async fn propose(&self, request: Request<wire::ProposeRequest>) -> Result<Response<wire::ProposeResponse>, Status> {
        let request = request.into_inner();
        self.check(request.cluster_id, None)?;
        let decoded: Result<Vec<Command>, _> = request.commands.into_iter().map(Command::decode).collect();
        let commands = decoded.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (outcomes, index) = self.consensus.propose_for_follower(commands).await?;
        Ok(Response::new(wire::ProposeResponse { outcomes, index }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        let request = request.into_inner();
        self.check(request.cluster_id, None)?;
        let heard = request.vote.map(|vote| (request.asker, vote));
        let index = self.consensus.read_index_for_follower(heard).await?;
        Ok(Response::new(wire::ReadIndexResponse { index }))
    }

    async fn renew_lease(
        &self,
        request: Request<wire::RenewLeaseRequest>,
    ) -> Result<Response<wire::RenewLeaseResponse>, Status> {
        let request = request.into_inner();
        self.check(request.cluster_id, None)?;
        let ttl = self.leases.renew_here(request.id).await?;
        Ok(Response::new(wire::RenewLeaseResponse { ttl }))
    }

    async fn remaining_lease(
        &self,
        request: Request<wire::RemainingLeaseRequest>,
    ) -> Result<Response<wire::RemainingLeaseResponse>, Status> {
        let request = request.into_inner();
        self.check(request.cluster_id, None)?;
        let (ttl, granted_ttl) = self.leases.remaining_here(request.id)?;
        Ok(Response::new(wire::RemainingLeaseResponse { ttl, granted_ttl }))
    }

    async fn change_members(
        &self,
        request: Request<wire::ChangeMembersRequest>,
    ) -> Result<Response<wire::ChangeMembersResponse>, Status> {
        let request = request.into_inner();
        self.check(request.cluster_id, None)?;
        let peer = |node: wire::Node| (node.id, Peer { name: node.name, urls: node.peer_urls });
        match request.change.ok_or_else(|| Status::invalid_argument("no change"))? {
            Change::Add(node) => {
                let (id, peer) = peer(node);
                self.consensus.add_member_here(id, peer, request.voter).await?;
            }
            Change::Remove(id) => self.consensus.remove_member_here(id).await?,
            Change::Promote(id) => self.consensus.promote_member_here(id).await?,
            Change::Update(node) => {
                let (id, peer) = peer(node);
                self.consensus.update_member_here(id, peer).await?;
            }
            Change::MoveLeader(id) => self.consensus.move_leader(id).await?,
        }
        Ok(Response::new(wire::ChangeMembersResponse {}))
    }

    async fn identify(
        &self,
        request: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyResponse>, Status> {
        let node = |(id, peer, _): (u64, Peer, bool)| wire::Node { id, name: peer.name, peer_urls: peer.urls };
        let members = self.consensus.members().into_iter().map(node).collect();
        let is_young = self.consensus.last_log_index() == 0;
        let knows_asker = match request.into_inner().asker {
            asker if asker == 0 || is_young => None,
            asker => self.consensus.knows(asker).await,
        };
        let cluster_id = self.consensus.cluster_id();
        Ok(Response::new(wire::IdentifyResponse { cluster_id, members, is_young, knows_asker }))
    }
}

fn append_request(request: wire::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, codec::Error> {
    Ok(AppendEntriesRequest {
        vote: codec::required_vote(request.vote)?,
        prev_log_id: request.previous.map(codec::log_id),
        entries: request.entries.into_iter().map(codec::entry).collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.map(codec::log_id),
    })
}

fn vote_response(response: &VoteResponse<TypeConfig>) -> wire::VoteResponse {
    wire::VoteResponse {
        vote: Some(vote_to_wire(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_to_wire),
    }
}
