//! gRPC over the simulated network: tonic's client on one side and the peer door on the other, and between them the
//! frames of their bodies.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use keelson_wire::raft as wire;
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tower::util::BoxCloneSyncService;

use super::net::{Arrival, CONNECT_MILLIS, Door, Id, Inlet, KEEP_ALIVE_MILLIS, Net};
use super::trace::digest;
use crate::raft::{Connect, PeerChannel};

/// Requests that may come a second time, late: all that Raft itself must bear.
const REPEATED: [&str; 6] = ["/Append", "/Vote", "/PreVote", "/VoteOf", "/ReadIndex", "/InstallSnapshot"];
/// Frames of a request that are repeated at most.
const REPEATED_FRAMES: u64 = 6;
/// A snapshot whose stream breaks has sent so many bytes before, at most.
const TORN_BYTES: u64 = 8_000;
/// Of so many whose snapshot's stream breaks, one ends as well.
const DOOMED: u64 = 2;
/// gRPC's prefix of a message: a flag and its length.
const PREFIX: usize = 5;

pub fn url(id: Id) -> String {
    format!("sim://{id}")
}

enum Item {
    Open(http::request::Parts),
    Head(http::response::Parts),
    Frame(Frame<Bytes>),
    End,
    Broken,
}

fn lost() -> Status {
    Status::unavailable("the connection is lost")
}

/// How a member finds the others.
pub struct Carriers {
    pub net: Net,
    pub own: Id,
}

impl Connect for Carriers {
    fn channel(&self, url: &str) -> Result<PeerChannel, Status> {
        let peer = url.strip_prefix("sim://").and_then(|id| id.parse().ok());
        let peer = peer.ok_or_else(|| Status::unavailable(format!("{url} is no URL of the simulation")))?;
        Ok(BoxCloneSyncService::new(Carrier { net: self.net.clone(), own: self.own, peer }))
    }
}

#[derive(Clone)]
struct Carrier {
    net: Net,
    own: Id,
    peer: Id,
}

struct Aborted(tokio::task::JoinHandle<()>);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A body whose frames come over the network.
struct Received {
    items: mpsc::UnboundedReceiver<Item>,
    /// Whoever reads no longer needs no more to be sent.
    _sending: Option<Aborted>,
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.items.poll_recv(context).map(|item| match item {
            Some(Item::Frame(frame)) => Some(Ok(frame)),
            Some(Item::End) => None,
            Some(Item::Open(_) | Item::Head(_) | Item::Broken) | None => Some(Err(lost())),
        })
    }
}

fn frame_digest(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(1, |data| digest(data))
}

async fn next_frame(body: &mut Body) -> Option<Result<Frame<Bytes>, Status>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// As tonic writes it: a number and the letter of its unit.
fn timeout_of(headers: &http::HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at(text.len().checked_sub(1)?);
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        _ => Duration::from_nanos(number),
    })
}

/// The way to the peer: opens a call there, and its answer goes into `answers`.
fn way(net: &Net, own: Id, peer: Id, answers: mpsc::UnboundedSender<Item>) -> Inlet<Item> {
    let told = answers.clone();
    let back = Inlet::new(net, (own, peer, own), KEEP_ALIVE_MILLIS, move |_, arrival| {
        // Whoever asked may have gone.
        let _ = told.send(match arrival {
            Arrival::Parcel(item) => item,
            Arrival::Broken => Item::Broken,
        });
    });
    let mut back = Some(back);
    let mut door: Option<mpsc::UnboundedSender<Item>> = None;
    Inlet::new(net, (own, own, peer), CONNECT_MILLIS.max(KEEP_ALIVE_MILLIS), move |net, arrival| match arrival {
        Arrival::Parcel(Item::Open(head)) => {
            // Nobody listens: the answer's end of the stream breaks when it is dropped.
            let Some(back) = back.take() else { return };
            let Some(Door { runtime, service }) = net.door(peer) else { return };
            let (sender, items) = mpsc::unbounded_channel();
            door = Some(sender);
            runtime.spawn(serve(net.clone(), peer, service, head, items, back));
        }
        Arrival::Parcel(item) => {
            if let Some(door) = &door {
                // The door may have had enough.
                let _ = door.send(item);
            }
        }
        Arrival::Broken => {
            if let Some(door) = &door {
                let _ = door.send(Item::Broken);
            }
            let _ = answers.send(Item::Broken);
        }
    })
}

/// What a member says that is of interest for the run.
fn note(net: &Net, own: Id, path: &str, answer: &[u8]) {
    if path.ends_with("/Vote") && !net.is_dark(own) {
        let vote = wire::VoteResponse::decode(answer).ok().and_then(|response| response.vote);
        vote.into_iter().for_each(|vote| net.promised(own, vote));
    }
    if path.ends_with("/BeginSnapshot")
        && wire::BeginSnapshotResponse::decode(answer).is_ok_and(|begun| begun.records > 0)
    {
        net.has_resumed(own);
    }
}

async fn serve(
    net: Net,
    own: Id,
    mut service: keelson_wire::raft::raft_server::RaftServer<crate::raft::PeerDoor>,
    head: http::request::Parts,
    items: mpsc::UnboundedReceiver<Item>,
    back: Inlet<Item>,
) {
    let path = head.uri.path().to_owned();
    let body = Body::new(Received { items, _sending: None });
    let Ok(response) = service.call(http::Request::from_parts(head, body)).await;
    let (head, mut body) = response.into_parts();
    back.send(Item::Head(head), 2);
    while let Some(frame) = next_frame(&mut body).await {
        let Ok(frame) = frame else { return };
        if let Some(message) = frame.data_ref().and_then(|data| data.get(PREFIX..)) {
            note(&net, own, &path, message);
        }
        let digest = frame_digest(&frame);
        back.send(Item::Frame(frame), digest);
    }
    back.send(Item::End, 3);
    back.finish();
}

/// The first frames of a request, to be sent once more when nobody expects it.
struct Repeat {
    head: http::request::Parts,
    frames: Vec<Bytes>,
    wanted: u64,
}

impl Repeat {
    fn send(self, net: &Net, own: Id, peer: Id) {
        let delay = net.draw(1, 3_000);
        net.later(delay, move |net| {
            let (answers, _nobody) = mpsc::unbounded_channel();
            let way = way(net, own, peer, answers);
            way.send(Item::Open(self.head), 4);
            for frame in self.frames {
                let digest = digest(&frame);
                way.send(Item::Frame(Frame::data(frame)), digest);
            }
            way.send(Item::End, 5);
            way.finish();
        });
    }
}

async fn send(net: Net, own: Id, peer: Id, request: http::Request<Body>, way: Inlet<Item>) {
    let (head, mut body) = request.into_parts();
    let may_repeat = REPEATED.iter().any(|path| head.uri.path().ends_with(path));
    let mut repeat = (may_repeat && net.chance(|weather| weather.repeats)).then(|| Repeat {
        head: head.clone(),
        frames: Vec::new(),
        wanted: net.draw(1, REPEATED_FRAMES),
    });
    let is_torn = head.uri.path().ends_with("/InstallSnapshot") && net.chance(|weather| weather.tears);
    let mut left = if is_torn { net.draw(1, TORN_BYTES) as usize } else { usize::MAX };
    way.send(Item::Open(head), digest(&own.to_le_bytes()));
    while let Some(frame) = next_frame(&mut body).await {
        let Ok(frame) = frame else { return };
        let length = frame.data_ref().map_or(0, Bytes::len);
        if length > left {
            let part = frame.into_data().unwrap_or_default().split_to(left);
            let digest = digest(&part);
            way.send(Item::Frame(Frame::data(part)), digest);
            if net.draw(1, DOOMED) == 1 {
                // What is on its way may still come.
                net.later(net.draw(1, 40), move |net| net.doom(peer));
            }
            return;
        }
        left -= length;
        if let Some(repeated) = &mut repeat {
            repeated.frames.extend(frame.data_ref().cloned());
        }
        if let Some(whole) = repeat.take_if(|repeated| repeated.frames.len() as u64 >= repeated.wanted) {
            whole.send(&net, own, peer);
        }
        let digest = frame_digest(&frame);
        way.send(Item::Frame(frame), digest);
    }
    if let Some(whole) = repeat {
        whole.send(&net, own, peer);
    }
    way.send(Item::End, 6);
    way.finish();
}

impl Service<http::Request<Body>> for Carrier {
    type Response = http::Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let Self { net, own, peer } = self.clone();
        let timeout = timeout_of(request.headers());
        let (answers, mut items) = mpsc::unbounded_channel();
        let way = way(&net, own, peer, answers);
        let sending = Aborted(tokio::spawn(send(net, own, peer, request, way)));
        Box::pin(async move {
            let head = async {
                match items.recv().await {
                    Some(Item::Head(head)) => Ok(head),
                    _ => Err(lost()),
                }
            };
            let head = match timeout {
                Some(timeout) => tokio::time::timeout(timeout, head)
                    .await
                    .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time"))),
                None => head.await,
            };
            let body = Body::new(Received { items, _sending: Some(sending) });
            Ok(http::Response::from_parts(head?, body))
        })
    }
}

/// For [`crate::raft::Dialer::by`].
pub fn connect(net: &Net, own: Id) -> Arc<dyn Connect> {
    Arc::new(Carriers { net: net.clone(), own })
}
