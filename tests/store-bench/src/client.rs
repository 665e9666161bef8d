//! gRPC with as little as possible: encoded frames on HTTP/2 streams.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request};
use prost::Message;
use tokio::net::TcpStream;

use crate::messages::Template;
use crate::{Failure, Result};

/// Calls that share a connection.
const CALLS_PER_CONNECTION: usize = 64;

#[derive(Clone)]
pub struct Connection {
    sender: SendRequest<Bytes>,
    address: SocketAddr,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(4 << 20).initial_connection_window_size(64 << 20).enable_push(false);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::spawn(async move {
            // A member that was killed: its calls say so.
            let _ = connection.await;
        });
        Ok(Self { sender, address })
    }

    /// Tries until the server listens.
    pub async fn patiently(address: SocketAddr) -> Result<Self> {
        let started = Instant::now();
        loop {
            match Self::open(address).await {
                Ok(connection) => return Ok(connection),
                Err(error) if started.elapsed() > Duration::from_secs(30) => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
    }

    fn request(&self, path: &str) -> Result<Request<()>> {
        let request = Request::builder().method(Method::POST).uri(format!("http://{}{path}", self.address));
        Ok(request.header("content-type", "application/grpc").header("te", "trailers").body(())?)
    }

    /// A stream that stays open to this side.
    pub async fn stream(&self, path: &str, first: Bytes) -> Result<(h2::SendStream<Bytes>, RecvStream)> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(self.request(path)?, false)?;
        stream.send_data(first, false)?;
        Ok((stream, response.await?.into_body()))
    }

    async fn call(&self, request: &Request<()>, frame: Bytes) -> Result<Body> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(request.clone(), false)?;
        stream.send_data(frame, true)?;
        let response = response.await?;
        check(response.headers())?;
        Ok(Body(response.into_body()))
    }

    pub async fn ask<Answer: Message + Default>(&self, path: &str, frame: Bytes) -> Result<Answer> {
        let mut body = self.call(&self.request(path)?, frame).await?.0;
        let mut whole = BytesMut::new();
        while let Some(part) = body.data().await {
            let part = part?;
            body.flow_control().release_capacity(part.len())?;
            whole.extend_from_slice(&part);
        }
        check(&body.trailers().await?.unwrap_or_default())?;
        if whole.len() < 5 {
            return Err("an answer without a message".into());
        }
        Ok(Answer::decode(&whole[5..])?)
    }
}

struct Body(RecvStream);

impl Body {
    async fn skipped(mut self) -> Result<usize> {
        let mut bytes = 0;
        while let Some(part) = self.0.data().await {
            let part = part?.remaining();
            self.0.flow_control().release_capacity(part)?;
            bytes += part;
        }
        check(&self.0.trailers().await?.unwrap_or_default())?;
        Ok(bytes)
    }
}

fn check(headers: &HeaderMap) -> Result<()> {
    match headers.get("grpc-status") {
        Some(status) if status != "0" => {
            let message = headers.get("grpc-message").and_then(|message| message.to_str().ok()).unwrap_or("");
            Err(Failure::from(format!("grpc status {}: {message}", status.to_str().unwrap_or("?"))))
        }
        _ => Ok(()),
    }
}

/// What the calls of one row took, in microseconds, ascending.
pub struct Times {
    pub sorted: Vec<u32>,
    pub elapsed: Duration,
}

impl Times {
    pub fn new(mut times: Vec<u32>, elapsed: Duration) -> Self {
        times.sort_unstable();
        Self { sorted: times, elapsed }
    }

    pub fn rate(&self) -> f64 {
        self.sorted.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Milliseconds below which this part of the calls was.
    pub fn at(&self, part: f64) -> f64 {
        let place = ((self.sorted.len() as f64 * part) as usize).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(place).map_or(0.0, |time| f64::from(*time) / 1e3)
    }
}

/// How long a row goes on.
#[derive(Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Calls(u64),
}

/// So many clients, each with one call at a time. `number` makes the calls' numbers from their order.
pub async fn load(
    address: SocketAddr,
    template: Template,
    clients: usize,
    until: Until,
    number: fn(u64) -> u64,
) -> Result<Times> {
    let mut connections = Vec::new();
    for _ in 0..clients.div_ceil(CALLS_PER_CONNECTION) {
        connections.push(Connection::open(address).await?);
    }
    let template = Rc::new(template);
    let next = Rc::new(std::cell::Cell::new(0_u64));
    let started = Instant::now();
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let connection = connections[client % connections.len()].clone();
            let (template, next) = (template.clone(), next.clone());
            local.spawn_local(async move {
                let request = connection.request(template.path)?;
                let mut times = Vec::new();
                loop {
                    let turn = next.get();
                    let is_over = match until {
                        Until::Elapsed(length) => started.elapsed() >= length,
                        Until::Calls(calls) => turn >= calls,
                    };
                    if is_over {
                        return Ok::<_, Failure>(times);
                    }
                    next.set(turn + 1);
                    let begun = Instant::now();
                    connection.call(&request, template.stamped(number(turn))).await?.skipped().await?;
                    times.push(begun.elapsed().as_micros() as u32);
                }
            })
        })
        .collect();
    local
        .run_until(async move {
            let mut times = Vec::new();
            for task in tasks {
                times.extend(task.await??);
            }
            Ok(Times::new(times, started.elapsed()))
        })
        .await
}
