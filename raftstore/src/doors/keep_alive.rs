//! Whether the other end of a connection is still there: asked now and then, by a ping.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::{Ping, PingPong, Reason};
use tokio::time::{Instant, Sleep, sleep};

const INTERVAL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);

pub struct KeepAlive {
    pings: PingPong,
    is_asked: bool,
    /// Of the next ping, or of the patience with the last one.
    time: Pin<Box<Sleep>>,
}

impl KeepAlive {
    pub fn new(pings: PingPong) -> Self {
        Self { pings, is_asked: false, time: Box::pin(sleep(INTERVAL)) }
    }

    /// Ready when the connection is to be given up.
    pub fn poll_broken(&mut self, context: &mut Context<'_>) -> Poll<h2::Error> {
        loop {
            if self.is_asked {
                match self.pings.poll_pong(context) {
                    Poll::Ready(Ok(_)) => {
                        self.is_asked = false;
                        self.time.as_mut().reset(Instant::now() + INTERVAL);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(error),
                    Poll::Pending if self.time.as_mut().poll(context).is_ready() => {
                        return Poll::Ready(Reason::NO_ERROR.into());
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            std::task::ready!(self.time.as_mut().poll(context));
            if let Err(error) = self.pings.send_ping(Ping::opaque()) {
                return Poll::Ready(error);
            }
            self.is_asked = true;
            self.time.as_mut().reset(Instant::now() + PATIENCE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;
    use tokio::io::DuplexStream;

    use super::*;

    /// Both ends of a connection, the server's looked after by pings. Its task ends with the connection.
    async fn ends(
        wire: (DuplexStream, DuplexStream),
    ) -> (h2::client::Connection<DuplexStream, Bytes>, tokio::task::JoinHandle<bool>) {
        let served = tokio::spawn(async move {
            let mut connection = h2::server::handshake(wire.1).await.expect("greeted");
            let mut keep_alive = KeepAlive::new(connection.ping_pong().expect("the first"));
            poll_fn(|context| match keep_alive.poll_broken(context) {
                Poll::Ready(_) => Poll::Ready(true),
                Poll::Pending => connection.poll_accept(context).map(|_| false),
            })
            .await
        });
        let (sender, connection) = h2::client::handshake(wire.0).await.expect("greeted");
        // Kept for as long as the runtime: a client without one hangs up.
        std::mem::forget(sender);
        (connection, served)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_answers_no_ping_is_given_up_and_another_is_not() {
        let (silent, given_up) = ends(tokio::io::duplex(1 << 16)).await;
        let (alive, mut kept) = ends(tokio::io::duplex(1 << 16)).await;
        tokio::spawn(alive);
        assert!(given_up.await.expect("it ends"));
        assert!(tokio::time::timeout(10 * (INTERVAL + PATIENCE), &mut kept).await.is_err());
        kept.abort();
        drop(silent);
    }
}
