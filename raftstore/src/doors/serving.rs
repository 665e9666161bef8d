//! One connection, served from its first byte to its last.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use keelson_process::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::body::Body;

use super::connection::{Connection, Turns};
use super::lanes::Seat;

const KEEP_ALIVE: Duration = Duration::from_secs(30);
const MAX_STREAMS: u32 = 20_000;
const STREAM_WINDOW: u32 = 2 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A call's answer, on its way.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Whoever answers the calls of a door.
///
/// tonic's own server would have them pass by a router, a timeout, a span and a place for their sender's address, each with
/// boxes of its own: a tenth of what a small call costs, and nothing that is wanted here.
pub trait Answers: Clone + Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> Answer;
}

struct Calls<Door>(Door);

impl<Door: Answers> Service<Request<Incoming>> for Calls<Door> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        self.0.answer(request)
    }
}

/// Returns when the connection has ended. Called on the lane of its seat, which it keeps for as long.
pub async fn serve<Stream, Door>(stream: Stream, _seat: Seat, door: Door, shutdown: Shutdown)
where
    Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Door: Answers,
{
    let turns = Turns::default();
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .serve_connection(TokioIo::new(Connection::new(stream, turns.clone())), Calls(door));
    let mut connection = pin!(connection);
    let mut shutdown = pin!(shutdown.begun());
    let mut is_ending = false;
    let served = poll_fn(|context| {
        turns.begin();
        if !is_ending && shutdown.as_mut().poll(context).is_ready() {
            is_ending = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context)
    });
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection broke");
    }
}
