//! What doors listen on: an address of the network, or a file, which connects processes of one machine.
//!
//! Over a file no identity is asked for and nothing is encrypted: who may come in is who may open the file, and that is its
//! owner alone. A message takes a fraction of what it costs over TLS and TCP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use keelson_process::FileStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::listen::HANDSHAKE_TIMEOUT;

/// What every HTTP/2 client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; PREFACE_LENGTH] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PREFACE_LENGTH: usize = 24;

/// Where a door is.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    Address(SocketAddr),
    /// A socket in the file system.
    File(PathBuf),
}

/// Something that others connect to.
pub trait Listener: Send + 'static {
    type Socket: Socket;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Socket>> + Send;
}

/// One connection as the kernel has it.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static {
    /// Small messages go out at once.
    fn without_delay(&self) -> io::Result<()>;

    /// Belongs to the runtime that this is called on from now on.
    fn moved_here(self) -> io::Result<Self>;

    /// None: it has none, or is gone.
    fn peer(&self) -> Option<SocketAddr>;

    /// Waits for the client's first word. Whether there is one in time, and it is HTTP/2's where it can be looked at.
    fn is_greeted(&self) -> impl Future<Output = bool> + Send;
}

impl Listener for TcpListener {
    type Socket = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        TcpListener::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Socket for TcpStream {
    fn without_delay(&self) -> io::Result<()> {
        self.set_nodelay(true)
    }

    fn moved_here(self) -> io::Result<Self> {
        Self::from_std(self.into_std()?)
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }

    async fn is_greeted(&self) -> bool {
        speaks_http2(self).await
    }
}

impl Listener for UnixListener {
    type Socket = FileStream;

    async fn accept(&self) -> io::Result<FileStream> {
        FileStream::new(UnixListener::accept(self).await?.0.into_std()?)
    }
}

impl Socket for FileStream {
    fn without_delay(&self) -> io::Result<()> {
        Ok(())
    }

    fn moved_here(self) -> io::Result<Self> {
        Self::new(self.into_std())
    }

    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    async fn is_greeted(&self) -> bool {
        tokio::time::timeout(HANDSHAKE_TIMEOUT, self.readable()).await.is_ok()
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

/// Makes the file, for its owner alone. One that an earlier process has left is replaced; anything else in its place is an
/// error.
pub fn bind_file(path: &Path) -> io::Result<UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)?,
        // The bind says what is wrong.
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Until here the umask keeps others from writing to it, which is what connecting needs.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
