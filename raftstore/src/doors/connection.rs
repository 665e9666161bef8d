//! What one connection says, written together where it is said together.
//!
//! The HTTP/2 layer flushes when it has nothing more to say, and before each frame that it does not copy. When many
//! streams have something to say at one moment (a change that many watch, answers to one batch of writes), that is a
//! system call for each, which costs more than all that led to it. So what is flushed waits for the connection's next
//! turn, behind those who are ready to run; what they have to say goes with it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What waits for a flush, at most. More goes out at once.
const TOGETHER: usize = 16 << 10;
/// A larger buffer is given back: most connections are silent most of the time.
const KEPT: usize = 1 << 10;

/// Turns of a connection's task, counted by who polls the layer above it; and when the other end was heard last.
#[derive(Clone)]
pub struct Turns(Arc<Clock>);

struct Clock {
    turn: AtomicU64,
    begun: Instant,
    /// Milliseconds since then, the one that was begun as a whole: an answer is heard later than its question was put.
    heard: AtomicU64,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Clock { turn: AtomicU64::new(0), begun: Instant::now(), heard: AtomicU64::new(0) }))
    }
}

impl Turns {
    pub fn begin(&self) {
        self.0.turn.fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.0.turn.load(Ordering::Relaxed)
    }

    fn hear(&self) {
        self.0.heard.store(self.0.begun.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    pub fn heard(&self) -> Instant {
        self.0.begun + Duration::from_millis(self.0.heard.load(Ordering::Relaxed))
    }
}

pub struct Connection<Stream> {
    stream: Stream,
    turns: Turns,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that are written.
    written: usize,
    /// The turn in which what is waiting was flushed. It is written in a later one.
    flushed: Option<u64>,
}

impl<Stream> Connection<Stream> {
    pub fn new(stream: Stream, turns: Turns) -> Self {
        Self { stream, turns, waiting: Vec::new(), written: 0, flushed: None }
    }
}

impl<Stream: AsyncWrite + Unpin> Connection<Stream> {
    fn poll_write_waiting(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, &self.waiting[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.written = 0;
        self.flushed = None;
        self.waiting.clear();
        if self.waiting.capacity() > KEPT {
            self.waiting = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Connection<Stream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.turns.hear();
        }
        polled
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Connection<Stream> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = buffers.iter().map(|buffer| buffer.len()).sum::<usize>();
        if self.waiting.len() + count <= TOGETHER {
            buffers.iter().for_each(|buffer| self.waiting.extend_from_slice(buffer));
            return Poll::Ready(Ok(count));
        }
        ready!(self.poll_write_waiting(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.turns.now();
        if !self.waiting.is_empty() && self.flushed.is_none_or(|flushed| flushed == now) {
            if self.flushed.replace(now).is_none() {
                // For another turn, in which the layer above flushes again: it does so at the end of each.
                context.waker().wake_by_ref();
            }
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_write_waiting(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_waiting(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    /// Keeps what it is told, call by call.
    #[derive(Default)]
    struct Told(Vec<Vec<u8>>);

    impl AsyncWrite for Told {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn flush(connection: &mut Connection<Told>) {
        poll_fn(|context| Pin::new(&mut *connection).poll_flush(context)).await.expect("it is well");
    }

    #[tokio::test]
    async fn what_is_flushed_in_one_turn_goes_out_together_in_the_next() {
        let turns = Turns::default();
        let mut connection = Connection::new(Told::default(), turns.clone());
        turns.begin();
        // As HTTP/2 does it: a flush before each frame that is not copied, and one at the end.
        for frame in ["one", "two", "three"] {
            connection.write_all(frame.as_bytes()).await.expect("it is well");
            flush(&mut connection).await;
        }
        flush(&mut connection).await;
        assert!(connection.stream.0.is_empty());
        turns.begin();
        connection.write_all(b"four").await.expect("it is well");
        flush(&mut connection).await;
        assert_eq!(connection.stream.0, [b"onetwothreefour"]);
        // What comes then waits for another turn.
        connection.write_all(b"five").await.expect("it is well");
        flush(&mut connection).await;
        assert_eq!(connection.stream.0.len(), 1);
        turns.begin();
        flush(&mut connection).await;
        assert_eq!(connection.stream.0.len(), 2);
    }

    #[tokio::test]
    async fn much_goes_out_at_once_and_the_rest_at_the_end() {
        let mut connection = Connection::new(Told::default(), Turns::default());
        connection.write_all(b"head").await.expect("it is well");
        connection.write_all(&vec![0; TOGETHER]).await.expect("it is well");
        assert_eq!(connection.stream.0.len(), 2);
        connection.write_all(b"tail").await.expect("it is well");
        connection.shutdown().await.expect("it is well");
        assert_eq!(connection.stream.0.concat().len(), 4 + TOGETHER + 4);
    }
}
