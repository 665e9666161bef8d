//! Waits for a directory's files to change, by inotify.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Changes of the files of one directory.
pub struct DirectoryWatch {
    notifications: AsyncFd<OwnedFd>,
}

impl DirectoryWatch {
    pub fn new(directory: &Path) -> io::Result<DirectoryWatch> {
        let path = CString::new(directory.as_os_str().as_bytes())?;
        // SAFETY: the call takes no pointers.
        let descriptor = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor, and nobody else has it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let events = libc::IN_MODIFY | libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_DELETE_SELF;
        // SAFETY: `path` is a string that ends in NUL and outlives the call.
        let watch = unsafe { libc::inotify_add_watch(descriptor.as_raw_fd(), path.as_ptr(), events) };
        if watch < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the watch owns the descriptor, which stays open and the same until it is dropped.
        let notifications = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?;
        Ok(DirectoryWatch { notifications })
    }

    /// Resolves when something has changed since the last call; changes that came together are one.
    pub async fn changed(&self) -> io::Result<()> {
        let mut buffer = [0_u8; 4096];
        loop {
            let mut guard = self.notifications.readable().await?;
            let read = guard.try_io(|descriptor| {
                // SAFETY: the buffer is as long as the kernel is told.
                let length = unsafe { libc::read(descriptor.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
                if length < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
            });
            if let Ok(outcome) = read {
                return outcome;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_write_wakes_the_watch() {
        let directory = tempfile::tempdir().expect("a directory");
        let watch = DirectoryWatch::new(directory.path()).expect("a watch");
        std::fs::write(directory.path().join("log"), "x").expect("written");
        watch.changed().await.expect("changed");
    }
}
