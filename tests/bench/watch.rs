//! A watch of a collection: as whole objects, or as the bytes that come.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use keelson_tests::harness::Result;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::connection::{Connection, Server};

pub struct Watch {
    _connection: Connection,
    body: Incoming,
    pending: Vec<u8>,
}

impl Watch {
    /// Watches from this moment on.
    pub async fn from_now(server: &Server, path: &str) -> Result<Self> {
        let mut connection = server.connect().await?;
        let list: Value = serde_json::from_slice(&connection.call(Method::GET, path, Bytes::new()).await?)?;
        let from = list["metadata"]["resourceVersion"].as_str().ok_or("a list has a resourceVersion")?.to_owned();
        Self::from(server, path, &from).await
    }

    pub async fn from(server: &Server, path: &str, resource_version: &str) -> Result<Self> {
        let mut connection = server.connect().await?;
        let path = format!("{path}?watch=true&resourceVersion={resource_version}");
        let body = connection.open(Method::GET, &path, "application/json", Bytes::new()).await?.into_body();
        Ok(Self { _connection: connection, body, pending: Vec::new() })
    }

    /// The next event: `type` and `object`.
    pub async fn next(&mut self) -> Result<Value> {
        loop {
            if let Some(end) = self.pending.iter().position(|byte| *byte == b'\n') {
                let rest = self.pending.split_off(end + 1);
                return Ok(serde_json::from_slice(&std::mem::replace(&mut self.pending, rest))?);
            }
            let frame = self.body.frame().await.ok_or("the watch ended early")??;
            self.pending.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }
}

/// A watch of objects that carry the moment at which they were sent (nanoseconds, in a member `sent`). It looks for that
/// in the bytes as they come and understands nothing else: a hundred of them share the cores with the server.
pub struct Arrivals {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

impl Arrivals {
    const NAME: &[u8] = br#""sent":""#;
    const ROOM: usize = 16 << 10;

    pub async fn from(server: &Server, path: &str, resource_version: &str) -> Result<Self> {
        let mut stream = server.stream().await?;
        let request = format!(
            "GET {path}?watch=true&resourceVersion={resource_version} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut arrivals = Self { stream, buffer: Vec::with_capacity(Self::ROOM) };
        while !arrivals.buffer.windows(4).any(|end| end == b"\r\n\r\n") {
            arrivals.read().await?;
        }
        match arrivals.buffer.starts_with(b"HTTP/1.1 200 ") {
            true => Ok(arrivals),
            false => Err(format!("{path}: {}", String::from_utf8_lossy(&arrivals.buffer)).into()),
        }
    }

    async fn read(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the watch ended early".into()),
            _ => Ok(()),
        }
    }

    /// Waits for bytes; says for each object that is complete with them when it was sent.
    pub async fn next(&mut self, sent: &mut Vec<Duration>) -> Result<()> {
        self.read().await?;
        let mut done = 0;
        while let Some(start) = find(&self.buffer[done..], Self::NAME) {
            let digits = done + start + Self::NAME.len();
            let Some(length) = find(&self.buffer[digits..], b"\"") else { break };
            let text = std::str::from_utf8(&self.buffer[digits..digits + length])?;
            sent.push(Duration::from_nanos(text.parse()?));
            done = digits + length;
        }
        // What may be the beginning of the next object's member stays.
        let kept = self.buffer.len().saturating_sub(Self::NAME.len() + 20).max(done);
        self.buffer.drain(..kept);
        Ok(())
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
