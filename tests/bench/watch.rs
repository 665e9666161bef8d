//! A watch of a collection: as whole objects, or as the bytes that come.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use keelson_tests::harness::Result;
use serde_json::Value;

use crate::connection::{Connection, Server};
use crate::plain::{PlainConnection, find};

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
pub struct Arrivals(PlainConnection);

impl Arrivals {
    const NAME: &[u8] = br#""sent":""#;

    pub async fn from(server: &Server, path: &str, resource_version: &str) -> Result<Self> {
        let mut connection = PlainConnection::open(server).await?;
        let path = format!("{path}?watch=true&resourceVersion={resource_version}");
        connection.open_answer(&Method::GET, &path, b"").await?;
        match connection.answer.starts_with(b"HTTP/1.1 200 ") {
            true => Ok(Self(connection)),
            false => Err(format!("{path}: {}", String::from_utf8_lossy(&connection.answer)).into()),
        }
    }

    /// Waits for bytes; says for each object that is complete with them when it was sent.
    pub async fn next(&mut self, sent: &mut Vec<Duration>) -> Result<()> {
        self.0.read().await?;
        let buffer = &mut self.0.answer;
        let mut done = 0;
        while let Some(start) = find(&buffer[done..], Self::NAME) {
            let digits = done + start + Self::NAME.len();
            let Some(length) = find(&buffer[digits..], b"\"") else { break };
            let text = std::str::from_utf8(&buffer[digits..digits + length])?;
            sent.push(Duration::from_nanos(text.parse()?));
            done = digits + length;
        }
        // What may be the beginning of the next object's member stays.
        let kept = buffer.len().saturating_sub(Self::NAME.len() + 20).max(done);
        buffer.drain(..kept);
        Ok(())
    }
}
