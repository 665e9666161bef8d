//! Whether the other end of a connection is still there: asked by a ping when nothing was heard of it.
//!
//! Whatever comes is a sign of life. A pong may be long on its way, behind all that was said before it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use h2::{Ping, PingPong, Reason};
use tokio::time::{Instant, Sleep, sleep};

const INTERVAL: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(20);

pub struct KeepAlive {
    pings: PingPong,
    /// When it was asked last, if nothing was heard before that.
    asked: Option<Instant>,
    /// Of the next look.
    time: Pin<Box<Sleep>>,
}

impl KeepAlive {
    pub fn new(pings: PingPong) -> Self {
        Self { pings, asked: None, time: Box::pin(sleep(INTERVAL)) }
    }

    /// Ready when the connection is to be given up. `heard`: when anything came last.
    pub fn poll_broken(&mut self, heard: Instant, context: &mut Context<'_>) -> Poll<h2::Error> {
        loop {
            ready!(self.time.as_mut().poll(context));
            if self.asked.take().is_some_and(|asked| heard <= asked) {
                return Poll::Ready(Reason::NO_ERROR.into());
            }
            let (now, due) = (Instant::now(), heard + INTERVAL);
            let next = if due > now {
                due
            } else {
                // The pong of an earlier one makes room; and one that is still on its way will do.
                let _ = self.pings.poll_pong(context);
                let _ = self.pings.send_ping(Ping::opaque());
                self.asked = Some(now);
                now + PATIENCE
            };
            self.time.as_mut().reset(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::Bytes;
    use tokio::io::DuplexStream;

    use super::super::connection::{Connection, Turns};
    use super::*;

    /// Both ends of a connection, the server's looked after by pings. Its task ends with the connection.
    async fn ends(
        wire: (DuplexStream, DuplexStream),
    ) -> (h2::client::Connection<DuplexStream, Bytes>, tokio::task::JoinHandle<bool>) {
        let served = tokio::spawn(async move {
            let turns = Turns::default();
            let mut greeting = Box::pin(h2::server::handshake(Connection::new(wire.1, turns.clone())));
            let greeted = poll_fn(|context| {
                turns.begin();
                greeting.as_mut().poll(context)
            });
            let mut connection = greeted.await.expect("greeted");
            let mut keep_alive = KeepAlive::new(connection.ping_pong().expect("the first"));
            poll_fn(|context| {
                turns.begin();
                match keep_alive.poll_broken(turns.heard(), context) {
                    Poll::Ready(_) => Poll::Ready(true),
                    Poll::Pending => connection.poll_accept(context).map(|_| false),
                }
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

    #[tokio::test(start_paused = true)]
    async fn whoever_is_heard_is_there_though_its_pong_is_late() {
        let (client, server) = tokio::io::duplex(1 << 16);
        let (greeted, _client) = tokio::join!(h2::server::handshake::<_>(server), h2::client::handshake(client));
        let mut connection: h2::server::Connection<_, Bytes> = greeted.expect("greeted");
        // Nobody carries pings or pongs here.
        let mut keep_alive = KeepAlive::new(connection.ping_pong().expect("the first"));
        let mut heard = Instant::now();
        for _ in 0..20 {
            let look = poll_fn(|context| keep_alive.poll_broken(heard, context));
            assert!(tokio::time::timeout(INTERVAL + PATIENCE / 2, look).await.is_err());
            heard = Instant::now();
        }
        let begun = Instant::now();
        poll_fn(|context| keep_alive.poll_broken(heard, context)).await;
        assert!(begun.elapsed() >= INTERVAL + PATIENCE);
    }
}
