//! One connection, served from its first byte to its last.
//!
//! Directly on HTTP/2 (the crate `h2`). Servers that could stand between have each call pass by layers of futures, boxes
//! and tables of headers, which took half of what a small call costs.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use keelson_process::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::Status;
use tonic::body::Body;

use super::body::{Incoming, answer, answer_message};
use super::connection::{Connection, Turns};
use super::keep_alive::KeepAlive;
use super::lanes::Seat;

const MAX_STREAMS: u32 = 20_000;
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Of one request, once decompressed.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// A call's answer, on its way.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Whoever answers the calls of a door.
pub trait Answers: Clone + Send + Sync + 'static {
    /// Any call.
    fn answer(&self, request: Request<Incoming>) -> Answer;

    /// How a frequent call is answered, whose message came in one piece: spared everything that others may need.
    fn message_method(path: &str) -> Option<MessageMethod<Self>> {
        let _ = path;
        None
    }
}

/// From a message to one with its prefix, as it goes out.
pub type MessageMethod<Door> = fn(&Door, Bytes) -> MessageAnswer;

pub type MessageAnswer = Pin<Box<dyn Future<Output = Result<Bytes, Status>> + Send>>;

/// Serves the connection until it has ended. Called on the lane of its seat, which it keeps for as long.
pub async fn serve<Stream, Door>(stream: Stream, _seat: Seat, door: Door, shutdown: Shutdown)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Door: Answers,
{
    if let Err(error) = serve_until_its_end(stream, door, shutdown).await {
        tracing::debug!(%error, "a connection broke");
    }
}

async fn serve_until_its_end<Stream, Door>(stream: Stream, door: Door, shutdown: Shutdown) -> Result<(), h2::Error>
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Door: Answers,
{
    let turns = Turns::default();
    let mut greeting = pin!(
        h2::server::Builder::new()
            .max_concurrent_streams(MAX_STREAMS)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEADER_BYTES)
            .handshake::<_, Bytes>(Connection::new(stream, turns.clone()))
    );
    let mut shutdown = pin!(shutdown.begun());
    let greeted = poll_fn(|context| {
        turns.begin();
        match shutdown.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => greeting.as_mut().poll(context).map(Some),
        }
    });
    let Some(greeted) = greeted.await else { return Ok(()) };
    let mut connection = greeted?;
    let mut keep_alive = connection.ping_pong().map(KeepAlive::new);
    let mut is_ending = false;
    poll_fn(|context| {
        turns.begin();
        if !is_ending && shutdown.as_mut().poll(context).is_ready() {
            is_ending = true;
            connection.graceful_shutdown();
        }
        if let Some(keep_alive) = &mut keep_alive
            && let Poll::Ready(error) = keep_alive.poll_broken(turns.heard(), context)
        {
            return Poll::Ready(Err(error));
        }
        loop {
            let (request, respond) = match ready!(connection.poll_accept(context)) {
                Some(Ok(call)) => call,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            };
            let (head, body) = request.into_parts();
            let mut body = Incoming::new(body);
            // What a client has sent at once is all here.
            if let Some(method) = Door::message_method(head.uri.path())
                && let Some(message) = body.poll_message(context)
            {
                tokio::spawn(answer_message(method(&door, message), respond));
            } else {
                tokio::spawn(answer(door.clone(), Request::from_parts(head, body), respond));
            }
        }
    })
    .await
}
