//! The answers of one watch stream on their way to the client, few at a time.
//!
//! A client that takes none for too long is given up: what waits for it is thrown away at once, and it is told why when
//! it reads on. It loses nothing by that, since it can begin again behind the last revision that it saw.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use keelson_wire::etcdserverpb::WatchResponse;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tonic::Status;

/// Answers that wait for the client's HTTP/2 window; the stream waits beyond that.
const WAITING: usize = 4;

type Answer = Result<WatchResponse, Status>;

/// The stream's side.
pub struct Answers {
    queue: mpsc::Sender<Answer>,
    taken: Arc<Mutex<Taken>>,
    patience: Duration,
}

/// The client's side: a gRPC body.
pub struct AnswerStream(Arc<Mutex<Taken>>);

enum Taken {
    From(mpsc::Receiver<Answer>),
    GivenUp(Option<Status>),
}

/// Nobody takes answers any more.
#[derive(Debug, PartialEq, Eq)]
pub enum Closed {
    /// The client has gone.
    Gone,
    /// The client is there, and has taken nothing for as long as the stream has patience.
    Stalled,
}

/// `patience`: for how long a client may take nothing while something waits for it.
pub fn channel(patience: Duration) -> (Answers, AnswerStream) {
    let (queue, answers) = mpsc::channel(WAITING);
    let taken = Arc::new(Mutex::new(Taken::From(answers)));
    (Answers { queue, taken: taken.clone(), patience }, AnswerStream(taken))
}

impl Answers {
    /// Waits while the client does not read.
    pub async fn send(&self, answer: Answer) -> Result<(), Closed> {
        // Mostly there is room, and no time needs to be taken.
        let answer = match self.queue.try_send(answer) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(Closed::Gone),
            Err(TrySendError::Full(answer)) => answer,
        };
        match tokio::time::timeout(self.patience, self.queue.send(answer)).await {
            Ok(sent) => sent.map_err(|_| Closed::Gone),
            Err(_) => {
                let reason = format!("etcdserver: the client took no answer for {:?}; watch again", self.patience);
                *self.taken.lock() = Taken::GivenUp(Some(Status::resource_exhausted(reason)));
                Err(Closed::Stalled)
            }
        }
    }
}

impl Stream for AnswerStream {
    type Item = Answer;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        match &mut *self.0.lock() {
            Taken::From(queue) => queue.poll_recv(context),
            Taken::GivenUp(reason) => Poll::Ready(reason.take().map(Err)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_told_why() {
        let (answers, mut stream) = channel(Duration::from_secs(60));
        for _ in 0..WAITING {
            answers.send(Ok(WatchResponse::default())).await.expect("it waits");
        }
        assert_eq!(answers.send(Ok(WatchResponse::default())).await, Err(Closed::Stalled));
        let reason = stream.next().await.expect("a reason").expect_err("not an answer");
        assert_eq!(reason.code(), tonic::Code::ResourceExhausted);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_slowly_gets_everything() {
        let (answers, mut stream) = channel(Duration::from_secs(60));
        let reader = tokio::spawn(async move {
            let mut seen = 0;
            while let Some(Ok(response)) = stream.next().await {
                assert_eq!(response.watch_id, seen);
                seen += 1;
                tokio::time::sleep(Duration::from_secs(59)).await;
            }
            seen
        });
        for watch_id in 0..20 {
            answers.send(Ok(WatchResponse { watch_id, ..Default::default() })).await.expect("it is taken in time");
        }
        drop(answers);
        assert_eq!(reader.await.expect("it ends"), 20);
    }
}
