//! A WebSocket to the API server, as the admin.

use std::net::TcpStream;
use std::sync::Arc;

use keelson_process::identity::TlsFiles;
use rustls_pki_types::ServerName;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};
pub use tungstenite::Message;
use tungstenite::client::IntoClientRequest as _;

use super::{Cluster, Result};

/// Opens `path` in one of Kubernetes' subprotocols and reads messages to the end.
pub fn websocket(cluster: &Cluster, path: &str, protocol: &str) -> Result<Vec<Message>> {
    let server = cluster.kubectl()?.run("config view --output=jsonpath={.clusters[0].cluster.server}")?;
    let address = server.trim().trim_start_matches("https://").to_owned();
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).to_owned();
    let pki = cluster.configuration().join("pki");
    let files = TlsFiles::new(pki.join("ca.crt"), pki.join("admin.crt"), pki.join("admin.key"));
    let tls = ClientConnection::new(Arc::new(files.client_config()?), ServerName::try_from(host)?)?;
    let stream = StreamOwned::new(tls, TcpStream::connect(&address)?);
    let mut request = format!("wss://{address}{path}").into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", protocol.parse()?);
    let (mut socket, _) = tungstenite::client(request, stream).map_err(|error| format!("{path}: {error}"))?;
    let mut messages = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Close(_)) | Err(tungstenite::Error::ConnectionClosed) => return Ok(messages),
            Ok(message) => messages.push(message),
            Err(error) => return Err(error.into()),
        }
    }
}
