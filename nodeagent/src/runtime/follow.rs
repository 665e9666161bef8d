//! Following a container's log as it is written, by the kernel's notifications.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use super::{Error, Output};

const READ_SIZE: usize = 16 << 10;
const LINGER: Duration = Duration::from_secs(2);

/// Reads what is appended to a log from here on, over its rotation.
pub struct Follower {
    path: PathBuf,
    file: File,
    notify: AsyncFd<Watch>,
    /// Of a line that is not all there.
    rest: Vec<u8>,
}

/// Gives the kernel's queue of notifications to tokio.
struct Watch(Inotify);

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Follower {
    pub fn at_end(path: &Path) -> Result<Self, Error> {
        let failed = |errno: nix::errno::Errno| Error::io("watching", path)(errno.into());
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map_err(failed)?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        // The directory: the file is renamed away and made anew when it is rotated.
        let flags = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CLOSE_WRITE;
        inotify.add_watch(directory, flags).map_err(failed)?;
        let mut file = File::open(path).map_err(Error::io("opening", path))?;
        file.seek(SeekFrom::End(0)).map_err(Error::io("reading", path))?;
        // SAFETY: the descriptor that `Watch` lends is its own, the same for as long as it lives.
        let notify = unsafe { AsyncFd::register(Watch(inotify)) };
        let notify = notify.map_err(|error| Error::io("watching", path)(error.into()))?;
        Ok(Follower { path: path.to_path_buf(), file, notify, rest: Vec::new() })
    }

    /// Until the logger closes the log, or nobody reads. Some time after `ended` (the container has) it is over in any
    /// case: the logger may have been killed.
    pub async fn forward(mut self, sender: mpsc::Sender<Output>, ended: impl Future<Output = ()>) {
        let ended = async {
            ended.await;
            tokio::time::sleep(LINGER).await;
        };
        let mut ended = std::pin::pin!(ended);
        let mut over = false;
        loop {
            loop {
                match self.read() {
                    Ok(chunks) if chunks.is_empty() => break,
                    Ok(chunks) => {
                        for chunk in chunks {
                            if sender.send(chunk).await.is_err() {
                                return;
                            }
                        }
                    }
                    Err(error) => {
                        tracing::debug!(path = %self.path.display(), %error, "cannot follow a log");
                        return;
                    }
                }
            }
            if over {
                return;
            }
            tokio::select! {
                () = sender.closed() => return,
                () = &mut ended => over = true,
                ready = self.notify.readable() => {
                    let Ok(mut ready) = ready else { return };
                    while let Ok(events) = ready.get_inner().0.read_events() && !events.is_empty() {
                        // A rotated log is closed under its new name.
                        over |= events.iter().any(|event| {
                            event.mask.contains(AddWatchFlags::IN_CLOSE_WRITE)
                                && event.name.as_deref() == self.path.file_name()
                        });
                    }
                    ready.clear_ready();
                }
            }
        }
    }

    /// What is there now; empty when there is nothing.
    fn read(&mut self) -> std::io::Result<Vec<Output>> {
        let mut buffer = vec![0; READ_SIZE];
        let mut count = self.file.read(&mut buffer)?;
        if count == 0 && self.was_rotated() {
            self.file = File::open(&self.path)?;
            count = self.file.read(&mut buffer)?;
        }
        self.rest.extend_from_slice(&buffer[..count]);
        let mut chunks = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            chunks.extend(output_of(&line));
        }
        Ok(chunks)
    }

    fn was_rotated(&self) -> bool {
        let (Ok(ours), Ok(current)) = (self.file.metadata(), std::fs::metadata(&self.path)) else { return false };
        (ours.dev(), ours.ino()) != (current.dev(), current.ino())
    }
}

/// `<time> stdout|stderr F|P <text>\n` to its text, with the end of the line where the line is whole.
fn output_of(line: &[u8]) -> Option<Output> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (_time, stream, tag, text) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let text = match tag {
        b"P" => text.strip_suffix(b"\n").unwrap_or(text),
        _ => text,
    };
    let text = Bytes::copy_from_slice(text);
    match stream {
        b"stdout" => Some(Output::Stdout(text)),
        b"stderr" => Some(Output::Stderr(text)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn what_is_appended_arrives_over_a_rotation() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("0.log");
        let mut file = File::create(&path).expect("log");
        writeln!(file, "t stdout F before").expect("write");
        let follower = Follower::at_end(&path).expect("follow");
        let (sender, mut receiver) = mpsc::channel(4);
        tokio::spawn(follower.forward(sender, std::future::pending()));
        write!(file, "t stdout P promp").expect("write");
        writeln!(file, "t> ").expect("write");
        assert_eq!(receiver.recv().await, Some(Output::Stdout("prompt> ".into())));
        // As the logger rotates: the new one is there before the old one is closed.
        std::fs::rename(&path, directory.path().join("0.log.1")).expect("rotate");
        let old = std::mem::replace(&mut file, File::create(&path).expect("log"));
        drop(old);
        writeln!(file, "t stderr F after").expect("write");
        assert_eq!(receiver.recv().await, Some(Output::Stderr("after\n".into())));
        drop(file);
        assert_eq!(receiver.recv().await, None);
    }
}
