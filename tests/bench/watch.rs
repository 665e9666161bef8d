//! A watch of a collection, as whole objects.

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use keelson_tests::harness::Result;
use serde_json::Value;

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
