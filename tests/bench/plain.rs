//! HTTP/1.1 as plain as `wrk` speaks it, over TLS. The client shares the processors with the server, so its own work is
//! part of every number; an HTTP library's was a fifth of a lone create's time.

use http::Method;
use keelson_tests::harness::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::connection::Server;

/// An answer's head ends before this many bytes.
const MAX_HEAD: usize = 16 << 10;
pub const END_OF_HEAD: &[u8] = b"\r\n\r\n";

pub struct PlainConnection {
    stream: TlsStream<TcpStream>,
    request: Vec<u8>,
    /// What has come since the last request.
    answer: Vec<u8>,
}

impl PlainConnection {
    pub async fn open(server: &Server) -> Result<Self> {
        Ok(Self { stream: server.stream().await?, request: Vec::new(), answer: Vec::with_capacity(MAX_HEAD) })
    }

    /// Sends a request and reads the whole answer; an answer that is no success is an error.
    pub async fn call(&mut self, method: &Method, path: &str, body: &[u8]) -> Result<()> {
        let head = self.open_answer(method, path, body).await?;
        let length = content_length(&self.answer[..head]).ok_or("the answer does not tell its length")?;
        while self.answer.len() < head + length {
            self.read().await?;
        }
        succeeded(&self.answer).map_err(|error| format!("{path}: {error}").into())
    }

    /// Sends a request and reads the answer's head: how long it is. A part of the body may have come with it.
    async fn open_answer(&mut self, method: &Method, path: &str, body: &[u8]) -> Result<usize> {
        self.request.clear();
        self.request.extend_from_slice(head(method, path, body.len()).as_bytes());
        self.request.extend_from_slice(body);
        self.stream.write_all(&self.request).await?;
        self.stream.flush().await?;
        self.answer.clear();
        loop {
            if let Some(end) = find(&self.answer, END_OF_HEAD) {
                return Ok(end + END_OF_HEAD.len());
            }
            if self.answer.len() > MAX_HEAD {
                return Err(format!("{path}: the answer's head has no end").into());
            }
            self.read().await?;
        }
    }

    /// Waits for more of the answer.
    async fn read(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.answer).await? {
            0 => Err("the server ended the connection".into()),
            _ => Ok(()),
        }
    }
}

/// Whether an answer that begins like this is a success.
pub fn succeeded(answer: &[u8]) -> Result<()> {
    match answer.get(9) {
        Some(b'2') => Ok(()),
        _ => Err(String::from_utf8_lossy(answer).into_owned().into()),
    }
}

/// A request as it begins.
pub fn head(method: &Method, path: &str, length: usize) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

pub fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}
