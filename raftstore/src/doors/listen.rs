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

pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes that are under way at once; more connections wait in the kernel's queue.
const HANDSHAKES: usize = 64;
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
    let address = match door.place {
        Place::Address(address) => address,
        Place::File(path) => {
            serve_as_it_is(name, bind_file(&path)?, answers, shutdown, lanes);
            return Ok(None);
        }
    };
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    match door.tls {
        None => serve_as_it_is(name, listener, answers, shutdown, lanes),
        Some(tls) => {
            let acceptor = TlsAcceptor::from(tls.config);
            let allowed: Arc<[String]> = tls.allowed.into();
            let ending = shutdown.clone();
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

/// Without TLS.
fn serve_as_it_is(
    name: &'static str,
    listener: impl Listener,
    answers: impl Answers,
    shutdown: Shutdown,
    lanes: Arc<Lanes>,
) {
    let ending = shutdown.clone();
    tokio::spawn(accept(name, listener, shutdown, lanes, move |stream, seat, slot| {
        let (answers, ending) = (answers.clone(), ending.clone());
        async move {
            if stream.is_greeted().await {
                drop(slot);
                serve(stream, seat, answers, ending).await;
            }
        }
    }));
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
