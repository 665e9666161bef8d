//! What doors listen on: an address of the network, or a file, which connects processes of one machine.
//!
//! Over a file no identity is asked for and nothing is encrypted: who may come in is who may open the file, and that is its
//! owner alone. A message takes a fraction of what it costs over TLS and TCP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

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
}

impl Listener for UnixListener {
    type Socket = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        UnixListener::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Socket for UnixStream {
    fn without_delay(&self) -> io::Result<()> {
        Ok(())
    }

    fn moved_here(self) -> io::Result<Self> {
        Self::from_std(self.into_std()?)
    }

    fn peer(&self) -> Option<SocketAddr> {
        None
    }
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
