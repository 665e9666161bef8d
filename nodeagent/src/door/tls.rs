//! Mutual TLS at the door: who is not an API server gets no further than the first call.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use keelson_process::Shutdown;
use keelson_process::identity::Identity;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use tonic::{Request, Status};

/// The common name in the certificates of API servers.
const API_SERVER: &str = "keelson:apiserver";
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections at once, those in their handshake included.
const CONNECTIONS: usize = 128;

/// A connection whose peer is known.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    peer: Option<Identity>,
    _slot: tokio::sync::OwnedSemaphorePermit,
}

/// Who called, as the interceptor sees it.
#[derive(Clone)]
pub struct Peer(Option<Identity>);

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.peer.clone())
    }
}

/// Lets API servers through.
pub fn only_api_servers(request: Request<()>) -> Result<Request<()>, Status> {
    let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0.as_ref());
    match peer {
        Some(identity) if identity.common_name == API_SERVER => Ok(request),
        Some(identity) => Err(Status::permission_denied(format!(
            "{:?} may not use the node's door: only the API server may",
            identity.common_name
        ))),
        None => Err(Status::unauthenticated("no client certificate")),
    }
}

/// Connections as they come out of their handshakes, which run side by side.
pub fn accept(
    listener: TcpListener,
    configuration: ServerConfig,
    shutdown: Shutdown,
) -> impl Stream<Item = io::Result<Connection>> {
    let acceptor = TlsAcceptor::from(Arc::new(configuration));
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let (ready, connections) = mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let stream = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.begun() => return,
            };
            let stream = match stream {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the streaming door cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let acceptor = acceptor.clone();
            let ready = ready.clone();
            tokio::spawn(async move {
                // Small messages are keystrokes: they do not wait for company.
                let _ = stream.set_nodelay(true);
                match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let certificates = stream.get_ref().1.peer_certificates();
                        let peer = certificates.and_then(|chain| Identity::of_certificate(chain.first()?));
                        // The server is gone: so is the connection.
                        let _ = ready.send(Ok(Connection { stream, peer, _slot: slot })).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake at the streaming door failed"),
                    Err(_) => tracing::debug!("a handshake at the streaming door took too long"),
                }
            });
        }
    });
    tokio_stream::wrappers::ReceiverStream::new(connections)
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
