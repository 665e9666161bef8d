//! One kept-alive HTTP/1.1 connection over TLS, with the admin's certificate: what a client library has.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use keelson_process::identity::TlsFiles;
use keelson_tests::harness::Result;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConnection;

/// Where the API server is and as whom to speak with it. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    address: String,
    tls: TlsConnector,
}

impl Server {
    /// The cluster whose configuration lies in `directory`, at `port`.
    pub fn new(directory: &Path, port: u16) -> Result<Self> {
        let pki = directory.join("pki");
        let files = TlsFiles::new(pki.join("ca.crt"), pki.join("admin.crt"), pki.join("admin.key"));
        Ok(Self { address: format!("127.0.0.1:{port}"), tls: TlsConnector::from(Arc::new(files.client_config()?)) })
    }

    /// A connection as it is, before any request.
    pub async fn stream(&self) -> Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        Ok(self.tls.connect(ServerName::try_from("localhost")?, stream).await?)
    }

    /// The same without a runtime; the handshake is still to come.
    pub fn plain_stream(&self) -> Result<(ClientConnection, std::net::TcpStream)> {
        let stream = std::net::TcpStream::connect(&self.address)?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        Ok((ClientConnection::new(self.tls.config().clone(), name)?, stream))
    }

    pub async fn connect(&self) -> Result<Connection> {
        let (sender, connection) = handshake(TokioIo::new(self.stream().await?)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender })
    }
}

pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// Sends a request and reads the whole answer; an answer that is no success is an error.
    pub async fn call(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Bytes> {
        let (code, body) = self.attempt(method, path, "application/json", body).await?;
        if code < 300 { Ok(body) } else { Err(format!("{path}: {code} {}", String::from_utf8_lossy(&body)).into()) }
    }

    pub async fn attempt(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<(u16, Bytes)> {
        let response = self.open(method, path, content_type, body).await?;
        let code = response.status().as_u16();
        Ok((code, response.into_body().collect().await?.to_bytes()))
    }

    /// Sends a request and hands the answer's body over as it comes.
    pub async fn open(
        &mut self,
        method: Method,
        path: &str,
        content_type: &str,
        body: impl Into<Bytes>,
    ) -> Result<http::Response<Incoming>> {
        self.sender.ready().await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", "localhost")
            .header("Accept", "application/json")
            .header("Content-Type", content_type)
            .body(Full::new(body.into()))?;
        Ok(self.sender.send_request(request).await?)
    }
}
