//! A connection over a socket in the file system, of which the runtime hears only what it waits for.
//!
//! The kernel tells whoever watches such a socket for room to write each time that the peer has read, and tokio's own
//! stream always watches for that: a request and its answer woke both sides once more for nothing, on processors that
//! others needed (over TCP there is word only if there was no room before). So this one watches for what can be read, and
//! for room only while a write waits for it.

use std::io::{self, IoSlice, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

#[derive(Debug)]
pub struct FileStream {
    stream: AsyncFd<UnixStream>,
    /// A second descriptor of the same socket, while a write waits for room.
    room: Option<AsyncFd<UnixStream>>,
}

impl FileStream {
    /// Belongs to the runtime that this is called on.
    ///
    /// # Errors
    /// If the socket cannot be told not to block, or the runtime cannot watch it.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: watched(stream, Interest::READABLE)?, room: None })
    }

    /// # Errors
    /// Those of connect(2), and of [`FileStream::new`].
    pub async fn connect(path: &Path) -> io::Result<Self> {
        Self::new(tokio::net::UnixStream::connect(path).await?.into_std()?)
    }

    /// The socket without a runtime.
    pub fn into_std(self) -> UnixStream {
        self.stream.into_inner()
    }

    /// Returns when there is something to read, be it the end.
    ///
    /// # Errors
    /// If the runtime has ended.
    pub async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await.map(drop)
    }

    /// Writes as much as there is room for; if there is none, the task is woken when there is.
    fn poll_write_with(
        &mut self,
        context: &mut Context<'_>,
        write: impl Fn(&UnixStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(self.stream.get_ref()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => {
                    self.room = None;
                    return Poll::Ready(outcome);
                }
            }
            let room = match &mut self.room {
                Some(room) => room,
                None => {
                    let second = self.stream.get_ref().try_clone()?;
                    self.room.insert(watched(second, Interest::WRITABLE)?)
                }
            };
            // What was known before the attempt is no longer true; what comes after it is not forgotten.
            ready!(room.poll_write_ready(context))?.clear_ready();
        }
    }
}

fn watched(stream: UnixStream, interest: Interest) -> io::Result<AsyncFd<UnixStream>> {
    // SAFETY: a stream's descriptor stays open, and the same, for as long as the stream lives.
    unsafe { AsyncFd::register_with_interest(stream, interest) }.map_err(io::Error::from)
}

impl AsyncRead for FileStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.stream.poll_read_ready(context))?;
            let unfilled = into.initialize_unfilled();
            match ready.get_inner().read(unfilled) {
                Ok(count) => {
                    // Less than there was place for was all that there is: the kernel tells when there is more.
                    if 0 < count && count < unfilled.len() {
                        ready.clear_ready();
                    }
                    into.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for FileStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(context, |mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_with(context, |mut stream| stream.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn pair() -> (FileStream, FileStream) {
        let (one, other) = UnixStream::pair().expect("a pair");
        (FileStream::new(one).expect("a stream"), FileStream::new(other).expect("a stream"))
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_arrives_whole() {
        const LENGTH: usize = 8 << 20;
        let (mut one, mut other) = pair();
        let sent: Vec<u8> = (0..LENGTH).map(|index| (index / 251 % 256) as u8).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            one.write_all(&sent).await.expect("written");
            one.shutdown().await.expect("ended");
            let mut answer = String::new();
            one.read_to_string(&mut answer).await.expect("read");
            answer
        });
        let mut received = Vec::new();
        other.read_to_end(&mut received).await.expect("read");
        assert!(received == expected, "{} bytes came", received.len());
        other.write_all(b"all").await.expect("written");
        drop(other);
        assert_eq!(writer.await.expect("it runs"), "all");
    }

    #[tokio::test]
    async fn a_write_without_room_waits_and_then_watches_no_longer() {
        let (mut one, mut other) = pair();
        let mut written = 0;
        while let Ok(count) = one.stream.get_ref().write(&[7; 4096]) {
            written += count;
        }
        let mut waiting = Box::pin(one.write_all(b"end"));
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        let mut received = vec![0; written];
        other.read_exact(&mut received).await.expect("read");
        waiting.await.expect("written");
        assert!(one.room.is_none());
        let mut end = [0; 3];
        other.read_exact(&mut end).await.expect("read");
        assert_eq!(&end, b"end");
    }

    /// What the kernel watches this descriptor for, by all epoll instances of the process.
    fn watched_for(stream: &FileStream) -> Vec<i32> {
        let descriptor = stream.stream.get_ref().as_raw_fd().to_string();
        let instances = std::fs::read_dir("/proc/self/fdinfo").expect("descriptors");
        let told = instances.flatten().filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
        let told: String = told.collect();
        let watches = told.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["tfd:", of, "events:", events, ..] if *of == descriptor => i64::from_str_radix(events, 16).ok(),
                _ => None,
            }
        });
        watches.map(|events| events as i32).collect()
    }

    #[tokio::test]
    async fn room_is_watched_for_only_while_a_write_waits() {
        let (one, _other) = pair();
        let events = watched_for(&one);
        assert!(!events.is_empty());
        for events in events {
            assert_eq!(events & (libc::EPOLLIN | libc::EPOLLOUT), libc::EPOLLIN, "{events:x}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_has_gone_is_an_error_to_write_to() {
        let (mut one, other) = pair();
        drop(other);
        let error = one.write_all(b"anybody?").await.expect_err("nobody");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
