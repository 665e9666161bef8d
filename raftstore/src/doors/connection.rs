//! What one connection says, written together where it is said together.
//!
//! The HTTP/2 layer flushes as soon as it has a frame. When many streams have something to say at one moment (a change that
//! many watch, answers to one batch of writes), that is a system call for each, which costs more than all that led to it.
//! So a flush lets those run first that are ready to run, once; what they have to say goes with it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What waits for a flush, at most. More goes out at once.
const TOGETHER: usize = 32 << 10;
/// A larger buffer is given back: most connections are silent most of the time.
const KEPT: usize = 1 << 10;

pub struct Connection<Stream> {
    stream: Stream,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that are written.
    written: usize,
    /// The others had their turn before this flush.
    has_yielded: bool,
}

impl<Stream> Connection<Stream> {
    pub fn new(stream: Stream) -> Self {
        Self { stream, waiting: Vec::new(), written: 0, has_yielded: false }
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
        if !self.waiting.is_empty() && !std::mem::replace(&mut self.has_yielded, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.poll_write_waiting(context))?;
        self.has_yielded = false;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_waiting(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
