//! Named network namespaces: files that a namespace is bound to, so that it outlives every process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::Error;

pub struct NetworkNamespaces {
    directory: PathBuf,
}

impl NetworkNamespaces {
    pub fn new(directory: PathBuf) -> Self {
        NetworkNamespaces { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes it with `lo` up; takes up what a run before has left half made.
    pub async fn create(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.path(name);
        if is_namespace(&path) {
            return Ok(path);
        }
        fs::create_dir_all(&self.directory).map_err(Error::io("creating", &self.directory))?;
        File::create(&path).map_err(Error::io("creating", &path))?;
        let target = path.clone();
        let (done, outcome) = tokio::sync::oneshot::channel();
        // A thread of its own: it changes its namespace, and no other work may ever run on it after that.
        std::thread::Builder::new()
            .name("netns".into())
            .spawn(move || {
                let _ = done.send(make(&target));
            })
            .map_err(Error::io("starting a thread for", &path))?;
        let outcome = outcome.await.unwrap_or_else(|_| Err(io::Error::other("thread ended")));
        if let Err(error) = outcome {
            let _ = fs::remove_file(&path);
            return Err(Error::io("creating network namespace", path)(error));
        }
        Ok(path)
    }

    /// Gone already is no error.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        // Unmounts whatever has piled up, then takes the file away.
        while umount2(&path, MntFlags::MNT_DETACH).is_ok() {}
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing", path)(error)),
            _ => Ok(()),
        }
    }

    pub fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("listing", &self.directory)(error)),
        };
        Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }
}

fn is_namespace(path: &Path) -> bool {
    use nix::sys::statfs::{NSFS_MAGIC, statfs};
    statfs(path).is_ok_and(|status| status.filesystem_type() == NSFS_MAGIC)
}

fn make(target: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    set_loopback_up()?;
    mount(Some("/proc/thread-self/ns/net"), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}

/// Two ioctls in the namespace that the thread is in: starting a plugin for it would cost more than the rest.
fn set_loopback_up() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::os::fd::AsRawFd;

    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: an ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, letter) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = *letter as libc::c_char;
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the descriptor is open, and the request is an ifreq that outlives the call.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
