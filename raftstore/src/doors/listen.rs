//! Sockets, TLS and who may come in.
//!
//! Identities are checked once, when a connection is made: whoever is not on the list never reaches a service. A door has
//! so many places; who comes when all are taken is turned away, for the files of the log and of the state need descriptors
//! too. And who says nothing has no place for long.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keelson_process::Shutdown;
use keelson_process::identity::Identity;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::lanes::{Lanes, Seat};
use super::serving::{Answers, serve};
use super::socket::{Listener, Place, Socket, bind_file};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes that are under way at once; more connections wait in the kernel's queue.
const HANDSHAKES: usize = 64;
/// What every HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; PREFACE_LENGTH] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_LENGTH: usize = 24;
/// Those who are turned away are told of in the log no more often.
const COMPLAINT: Duration = Duration::from_secs(10);

/// One door's place, and its TLS if it has any.
pub struct Door {
    pub name: &'static str,
    pub place: Place,
    /// Of an address only.
    pub tls: Option<DoorTls>,
    /// Shared by doors that share their places.
    pub lanes: Arc<Lanes>,
}

#[derive(Clone)]
pub struct DoorTls {
    pub config: Arc<rustls::ServerConfig>,
    /// Common names that may come in; empty: every name that the CA has signed.
    pub allowed: Vec<String>,
}

/// Binds the door and serves it until the shutdown. Returns the bound address, if it is one, at once.
pub async fn listen(door: Door, answers: impl Answers, shutdown: Shutdown) -> io::Result<Option<SocketAddr>> {
    let Door { name, lanes, .. } = door;
    let ending = shutdown.clone();
    let address = match door.place {
        Place::Address(address) => address,
        Place::File(path) => {
            let listener = bind_file(&path)?;
            tokio::spawn(accept(name, listener, shutdown, lanes, move |stream, seat, slot| {
                let (answers, ending) = (answers.clone(), ending.clone());
                async move {
                    // Who connects and says nothing is gone after a while, as at the other doors.
                    if tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.readable()).await.is_ok() {
                        drop(slot);
                        serve(stream, seat, answers, ending).await;
                    }
                }
            }));
            return Ok(None);
        }
    };
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    match door.tls {
        None => {
            tokio::spawn(accept(name, listener, shutdown, lanes, move |stream, seat, slot| {
                let (answers, ending) = (answers.clone(), ending.clone());
                async move {
                    if speaks_http2(&stream).await {
                        drop(slot);
                        serve(stream, seat, answers, ending).await;
                    }
                }
            }));
        }
        Some(tls) => {
            let acceptor = TlsAcceptor::from(tls.config);
            let allowed: Arc<[String]> = tls.allowed.into();
            tokio::spawn(accept(name, listener, shutdown, lanes, move |stream, seat, slot| {
                let (acceptor, allowed) = (acceptor.clone(), allowed.clone());
                let (answers, ending) = (answers.clone(), ending.clone());
                async move {
                    if let Some(stream) = handshake(name, &acceptor, &allowed, stream).await {
                        drop(slot);
                        serve(stream, seat, answers, ending).await;
                    }
                }
            }));
        }
    }
    Ok(Some(bound))
}

async fn accept<Doorstep, Welcome>(
    door: &'static str,
    listener: Doorstep,
    shutdown: Shutdown,
    lanes: Arc<Lanes>,
    welcome: impl Fn(Doorstep::Socket, Seat, OwnedSemaphorePermit) -> Welcome + Clone + Send + 'static,
) where
    Doorstep: Listener,
    Welcome: Future<Output = ()> + Send + 'static,
{
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut complained: Option<Instant> = None;
    loop {
        let Ok(slot) = handshakes.clone().acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    // Most likely out of descriptors: some will be free again.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = shutdown.begun() => return,
        };
        let Some(seat) = lanes.seat() else {
            if complained.is_none_or(|when| when.elapsed() >= COMPLAINT) {
                complained = Some(Instant::now());
                let peer = stream.peer();
                tracing::warn!(door, ?peer, "turned away: there are too many connections (--max-connections)");
            }
            continue;
        };
        if let Err(error) = stream.without_delay() {
            tracing::debug!(%error, "a connection was gone before it was served");
            continue;
        }
        let (lane, welcome) = (seat.handle().clone(), welcome.clone());
        lane.spawn(async move {
            match seat.take(stream) {
                Ok(stream) => welcome(stream, seat, slot).await,
                Err(error) => tracing::warn!(%error, door, "a connection could not change its thread"),
            }
        });
    }
}

/// Looks at what comes first without taking it. With TLS the handshake tells as much.
async fn speaks_http2(stream: &TcpStream) -> bool {
    let mut seen = [0; PREFACE.len()];
    let look = async {
        loop {
            match stream.peek(&mut seen).await {
                // Somebody who only looked whether the door is there.
                Ok(0) | Err(_) => return None,
                Ok(count) if seen[..count] != PREFACE[..count] => return Some(false),
                Ok(PREFACE_LENGTH) => return Some(true),
                // The rest is on its way, in a packet of its own: rare enough to look again a little later.
                Ok(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let seen = tokio::time::timeout(HANDSHAKE_TIMEOUT, look).await.unwrap_or(Some(false));
    if seen == Some(false) {
        tracing::info!(peer = ?stream.peer_addr().ok(), "a connection that does not speak HTTP/2");
    }
    seen == Some(true)
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
        // Somebody who only looked whether the door is there.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
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
