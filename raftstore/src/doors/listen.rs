//! Sockets, TLS and who may come in.
//!
//! Identities are checked once, when a connection is made: whoever is not on the list never reaches a service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keelson_process::Shutdown;
use keelson_process::identity::Identity;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::Server;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes that are under way at once; more connections wait in the kernel's queue.
const HANDSHAKES: usize = 64;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const MAX_STREAMS: u32 = 20_000;

/// One door's address, and its TLS if it has any.
pub struct Door {
    pub name: &'static str,
    pub address: SocketAddr,
    pub tls: Option<DoorTls>,
}

#[derive(Clone)]
pub struct DoorTls {
    pub config: Arc<rustls::ServerConfig>,
    /// Common names that may come in; empty: every name that the CA has signed.
    pub allowed: Vec<String>,
}

/// Binds the door and serves it until the shutdown. Returns the bound address at once.
pub async fn listen(door: Door, routes: Routes, shutdown: Shutdown) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(door.address).await?;
    let bound = listener.local_addr()?;
    let server = || {
        Server::builder()
            .tcp_nodelay(true)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(2 << 20)
            .initial_connection_window_size(8 << 20)
            .add_routes(routes)
    };
    let name = door.name;
    let ended = shutdown.begun_owned();
    match door.tls {
        None => {
            let (accepted, incoming) = mpsc::channel::<io::Result<TcpStream>>(16);
            tokio::spawn(accept(listener, shutdown, move |stream| {
                let accepted = accepted.clone();
                async move {
                    // The server has ended when nobody takes it.
                    let _ = accepted.send(Ok(stream)).await;
                }
            }));
            let serving = server().serve_with_incoming_shutdown(ReceiverStream::new(incoming), ended);
            tokio::spawn(report(name, serving));
        }
        Some(tls) => {
            let (accepted, incoming) = mpsc::channel::<io::Result<TlsStream<TcpStream>>>(16);
            let acceptor = TlsAcceptor::from(tls.config);
            let allowed: Arc<[String]> = tls.allowed.into();
            tokio::spawn(accept(listener, shutdown, move |stream| {
                let (acceptor, allowed, accepted) = (acceptor.clone(), allowed.clone(), accepted.clone());
                async move {
                    if let Some(stream) = handshake(name, &acceptor, &allowed, stream).await {
                        let _ = accepted.send(Ok(stream)).await;
                    }
                }
            }));
            let serving = server().serve_with_incoming_shutdown(ReceiverStream::new(incoming), ended);
            tokio::spawn(report(name, serving));
        }
    }
    Ok(bound)
}

async fn report(door: &'static str, serving: impl Future<Output = Result<(), tonic::transport::Error>>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, door, "a door has closed");
    }
}

async fn accept<Welcome>(listener: TcpListener, shutdown: Shutdown, welcome: impl Fn(TcpStream) -> Welcome)
where
    Welcome: Future<Output = ()> + Send + 'static,
{
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(slot) = handshakes.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Most likely out of descriptors: some will be free again.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = shutdown.begun() => return,
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it was served");
            continue;
        }
        let welcomed = welcome(stream);
        tokio::spawn(async move {
            let _slot = slot;
            welcomed.await;
        });
    }
}

async fn handshake(
    door: &str,
    acceptor: &TlsAcceptor,
    allowed: &[String],
    stream: TcpStream,
) -> Option<TlsStream<TcpStream>> {
    let peer = stream.peer_addr().ok();
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%error, ?peer, door, "TLS handshake failed");
            return None;
        }
        Err(_) => {
            tracing::info!(?peer, door, "TLS handshake took too long");
            return None;
        }
    };
    if allowed.is_empty() {
        return Some(stream);
    }
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let identity = certificate.and_then(|certificate| Identity::of_certificate(certificate));
    match identity {
        Some(identity) if allowed.contains(&identity.common_name) => Some(stream),
        identity => {
            let name = identity.map(|identity| identity.common_name);
            tracing::warn!(?peer, ?name, door, "a client that may not come in");
            None
        }
    }
}
