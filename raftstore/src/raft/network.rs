//! The way to the other members: one connection each, mutual TLS, log replication pipelined on a stream.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use keelson_wire::raft as wire;
use keelson_wire::raft::append_response::Result as Appended;
use keelson_wire::raft::raft_client::RaftClient;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use super::codec::{self, log_id_to_wire, vote_to_wire};
use super::machine::MachineSnapshot;
use super::snapshot::{self, SnapshotData};
use super::snapshot_sender;
use super::types::{Peer, TypeConfig, Vote};

/// A request to a peer is one decoded message; a batch of entries may hold several of the largest requests.
pub const MAX_PEER_MESSAGE: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// What connections to https:// peers are made with.
pub type PeerTls = Arc<rustls::ClientConfig>;

/// What carries requests to one peer and its answers back.
pub type PeerChannel = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status>;

/// Where peers are found by their URLs: the network, or a simulated one.
pub trait Connect: Send + Sync + 'static {
    /// A channel that connects when it is used, and again when the connection is lost.
    fn channel(&self, url: &str) -> Result<PeerChannel, Status>;
}

/// Makes and keeps the connections to the members.
#[derive(Clone)]
pub struct Dialer {
    cluster_id: u64,
    connect: Arc<dyn Connect>,
    channels: Arc<Mutex<HashMap<String, PeerChannel>>>,
    /// Members to which the last entries could not even be sent.
    away: Arc<Mutex<HashSet<u64>>>,
    /// Snapshots that were sent so far.
    pictures: Arc<AtomicU64>,
}

impl Dialer {
    pub fn new(cluster_id: u64, tls: Option<PeerTls>) -> Self {
        Self::by(cluster_id, Arc::new(Network { tls }))
    }

    pub fn by(cluster_id: u64, connect: Arc<dyn Connect>) -> Self {
        Self { cluster_id, connect, channels: Arc::default(), away: Arc::default(), pictures: Arc::default() }
    }

    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// A client for the peer; it connects when it is used and again when the connection is lost.
    pub fn client(&self, peer: &Peer) -> Result<RaftClient<PeerChannel>, Status> {
        let url = peer.urls.first().ok_or_else(|| Status::unavailable("the member has no peer URL"))?;
        let mut channels = self.channels.lock();
        let channel = match channels.get(url) {
            Some(channel) => channel.clone(),
            None => {
                let channel = self.connect.channel(url)?;
                channels.insert(url.clone(), channel.clone());
                channel
            }
        };
        let client = RaftClient::new(channel);
        Ok(client.max_decoding_message_size(MAX_PEER_MESSAGE).max_encoding_message_size(MAX_PEER_MESSAGE))
    }
}

/// TCP, with TLS where the URL says so.
struct Network {
    tls: Option<PeerTls>,
}

impl Network {
    fn dial(&self, url: &str) -> Result<Channel, Status> {
        let uri: Uri = url.parse().map_err(|error| Status::unavailable(format!("{url} is no peer URL: {error}")))?;
        let tls = match uri.scheme_str() {
            Some("https") => Some(self.tls.clone().ok_or_else(|| {
                Status::unavailable(format!("{url} needs --peer-cert-file, --peer-key-file and --peer-trusted-ca-file"))
            })?),
            _ => None,
        };
        // The connector below speaks TLS itself; to tonic the stream is a plain one, and it refuses an https URI then.
        let plain = url.replacen("https://", "http://", 1);
        let endpoint = Endpoint::from_shared(plain)
            .map_err(|error| Status::unavailable(format!("{url} is no peer URL: {error}")))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(8 << 20);
        let Some(tls) = tls else { return Ok(endpoint.connect_lazy()) };
        let connector = TlsConnector::from(tls);
        let connect = tower::service_fn(move |uri: Uri| {
            let connector = connector.clone();
            async move {
                let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
                let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(2380))).await?;
                stream.set_nodelay(true)?;
                Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
            }
        });
        Ok(endpoint.connect_with_connector_lazy(connect))
    }
}

impl Connect for Network {
    fn channel(&self, url: &str) -> Result<PeerChannel, Status> {
        Ok(BoxCloneSyncService::new(self.dial(url)?.map_err(|error| Status::from_error(error.into()))))
    }
}

impl RaftNetworkFactory<TypeConfig> for Dialer {
    type Network = PeerNetwork;

    async fn new_client(&mut self, target: u64, node: &Peer) -> PeerNetwork {
        PeerNetwork { dialer: self.clone(), target, peer: node.clone() }
    }
}

/// One member, as openraft speaks with it.
pub struct PeerNetwork {
    dialer: Dialer,
    target: u64,
    peer: Peer,
}

fn failed(status: Status) -> RPCError<TypeConfig> {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::FailedPrecondition => {
            RPCError::Unreachable(Unreachable::from_string(status))
        }
        _ => RPCError::Network(NetworkError::from_string(status)),
    }
}

fn malformed(error: codec::Error) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(error))
}

impl PeerNetwork {
    fn client(&self) -> Result<RaftClient<PeerChannel>, RPCError<TypeConfig>> {
        self.dialer.client(&self.peer).map_err(failed)
    }

    /// Says so once when the peer comes out of reach, and once when it is back.
    fn note_reach(&self, refusal: Option<&Status>) {
        let mut away = self.dialer.away.lock();
        let (name, member) = (self.peer.name.as_str(), format_args!("{:x}", self.target));
        match refusal {
            Some(refusal) if away.insert(self.target) => {
                tracing::warn!(name, %member, %refusal, "a member is out of reach");
            }
            None if away.remove(&self.target) => tracing::info!(name, %member, "a member is in reach again"),
            _ => {}
        }
    }

    fn vote_request(&self, rpc: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
        wire::VoteRequest {
            cluster_id: self.dialer.cluster_id,
            target: self.target,
            vote: Some(vote_to_wire(&rpc.vote)),
            last_log_id: rpc.last_log_id.as_ref().map(log_id_to_wire),
            leadership_transfer: rpc.leadership_transfer,
        }
    }
}

fn vote_response(response: wire::VoteResponse) -> Result<VoteResponse<TypeConfig>, codec::Error> {
    Ok(VoteResponse {
        vote: codec::required_vote(response.vote)?,
        vote_granted: response.granted,
        last_log_id: response.last_log_id.map(codec::log_id),
    })
}

fn append_request(cluster_id: u64, target: u64, request: &AppendEntriesRequest<TypeConfig>) -> wire::AppendRequest {
    wire::AppendRequest {
        cluster_id,
        target,
        vote: Some(vote_to_wire(&request.vote)),
        previous: request.prev_log_id.as_ref().map(log_id_to_wire),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_wire),
        entries: request.entries.iter().map(codec::entry_to_wire).collect(),
    }
}

fn append_result(response: wire::AppendResponse) -> Result<StreamAppendResult<TypeConfig>, codec::Error> {
    Ok(match response.result.ok_or(codec::Error::Lacks("result"))? {
        Appended::Appended(appended) => Ok(appended.last.map(codec::log_id)),
        Appended::Conflict(id) => Err(StreamAppendError::Conflict(codec::log_id(id))),
        Appended::HigherVote(vote) => Err(StreamAppendError::HigherVote(codec::vote(vote))),
    })
}

type Appends<'s> = BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>;

impl RaftNetworkV2<TypeConfig> for PeerNetwork {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut responses = self.stream_append(futures::stream::iter([rpc]), option).await?;
        match responses.next().await {
            Some(result) => Ok(result?.into()),
            None => Err(RPCError::Network(NetworkError::from_string("the peer ended the stream without an answer"))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<Appends<'s>, RPCError<TypeConfig>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let (cluster_id, target) = (self.dialer.cluster_id, self.target);
            // openraft waits in here between attempts at a member that is away: who dials before has no rest.
            let Some(first) = input.next().await else {
                let nothing: Appends<'s> = Box::pin(futures::stream::empty());
                return Ok(nothing);
            };
            let requests = futures::stream::iter([first]).chain(input);
            let requests = requests.map(move |request| append_request(cluster_id, target, &request));
            // tonic asks for Sync streams nowhere, but for 'static ones: the input is.
            let responses = self.client()?.append(requests).await;
            self.note_reach(responses.as_ref().err());
            let responses = responses.map_err(failed)?.into_inner();
            let results = responses.map(|response| append_result(response.map_err(failed)?).map_err(malformed));
            let results: Appends<'s> = Box::pin(results);
            Ok(results)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut request = tonic::Request::new(self.vote_request(&rpc));
        request.set_timeout(option.soft_ttl());
        vote_response(self.client()?.vote(request).await.map_err(failed)?.into_inner()).map_err(malformed)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut request = tonic::Request::new(self.vote_request(&rpc));
        request.set_timeout(option.soft_ttl());
        vote_response(self.client()?.pre_vote(request).await.map_err(failed)?.into_inner()).map_err(malformed)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: MachineSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let unreachable = |status: Status| StreamingError::Unreachable(Unreachable::from_string(status));
        let client = self.dialer.client(&self.peer).map_err(unreachable)?;
        let head = wire::SnapshotHead {
            cluster_id: self.dialer.cluster_id,
            target: self.target,
            vote: Some(vote_to_wire(&vote)),
            last_log_id: snapshot.meta.last_log_id.as_ref().map(log_id_to_wire),
            membership_log_id: snapshot.meta.last_membership.log_id().as_ref().map(log_id_to_wire),
            membership: Some(codec::membership_to_wire(snapshot.meta.last_membership.membership())),
            format: snapshot::FORMAT,
            ticket: 0,
        };
        let picture = self.dialer.pictures.fetch_add(1, Ordering::Relaxed);
        let sending = snapshot_sender::send(client, head, snapshot.snapshot, picture);
        let response = tokio::select! {
            biased;
            response = sending => response.map_err(unreachable)?,
            closed = cancel => return Err(StreamingError::Closed(closed)),
        };
        let vote = codec::required_vote(response.vote)
            .map_err(|error| StreamingError::Network(NetworkError::from_string(error)))?;
        Ok(SnapshotResponse::new(vote))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut message = tonic::Request::new(wire::TransferLeaderRequest {
            cluster_id: self.dialer.cluster_id,
            from_leader: Some(vote_to_wire(request.from_leader())),
            target: *request.to_node_id(),
            last_log_id: request.last_log_id().map(log_id_to_wire),
        });
        message.set_timeout(option.soft_ttl());
        let response = self.client()?.transfer_leader(message).await.map_err(failed)?.into_inner();
        if !response.rejected.is_empty() {
            tracing::info!(reason = response.rejected, target = self.target, "leader transfer rejected");
        }
        Ok(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    /// A network in which nobody answers.
    #[derive(Default)]
    struct Nobody(Arc<AtomicU32>);

    impl Connect for Nobody {
        fn channel(&self, _: &str) -> Result<PeerChannel, Status> {
            let dialed = self.0.clone();
            Ok(BoxCloneSyncService::new(tower::service_fn(move |_: http::Request<Body>| {
                dialed.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Err(Status::unavailable("nobody is there")))
            })))
        }
    }

    #[tokio::test]
    async fn a_member_that_is_away_is_not_dialed_before_there_is_something_to_send() {
        let dialed = Arc::new(AtomicU32::new(0));
        let mut dialer = Dialer::by(1, Arc::new(Nobody(dialed.clone())));
        let peer = Peer { name: "m2".to_owned(), urls: vec!["http://m2".to_owned()] };
        let mut network = dialer.new_client(2, &peer).await;
        let option = || RPCOption::new(Duration::from_millis(100));
        // The input is silent as long as openraft holds back.
        let silent = network.stream_append(futures::stream::pending(), option());
        assert!(futures::FutureExt::now_or_never(silent).is_none());
        assert_eq!(dialed.load(Ordering::SeqCst), 0);

        let request =
            AppendEntriesRequest { vote: Vote::new(1, 1), prev_log_id: None, entries: Vec::new(), leader_commit: None };
        let refused = network.stream_append(futures::stream::iter([request]), option()).await;
        assert!(matches!(refused.err(), Some(RPCError::Unreachable(_))));
        assert_eq!(dialed.load(Ordering::SeqCst), 1);
    }
}
