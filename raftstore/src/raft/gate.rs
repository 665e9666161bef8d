//! A question that many have at once: all who wait at one moment share one answer.
//!
//! While a question is under way the next ones gather, and share the next: nobody is given an answer to what was asked
//! before they came.

use tokio::sync::{mpsc, oneshot};

use crate::refusal::Refusal;

/// Those who may wait at once.
const MAX_WAITING: usize = 65_536;

pub struct Gate<T> {
    waiters: mpsc::Sender<oneshot::Sender<T>>,
}

pub type Waiters<T> = mpsc::Receiver<oneshot::Sender<T>>;

impl<T> Gate<T> {
    /// The gate, and those who wait there, for [`serve`].
    pub fn new() -> (Self, Waiters<T>) {
        let (waiters, queue) = mpsc::channel(MAX_WAITING);
        (Self { waiters }, queue)
    }

    /// The answer to a question that is put after this call.
    pub async fn ask(&self) -> Result<T, Refusal> {
        self.wait()?.await.map_err(|_| Refusal::Stopped)
    }

    /// As [`Self::ask`], and what waits borrows nothing.
    pub fn wait(&self) -> Result<oneshot::Receiver<T>, Refusal> {
        let (waiter, answer) = oneshot::channel();
        self.waiters.try_send(waiter).map_err(|_| Refusal::TooManyRequests)?;
        Ok(answer)
    }
}

/// Puts the question for whoever waits, again and again, until the gate is gone.
pub async fn serve<T: Clone, F: Future<Output = T>>(mut waiters: Waiters<T>, question: impl Fn() -> F) {
    let mut round = Vec::new();
    while waiters.recv_many(&mut round, MAX_WAITING).await > 0 {
        let answer = question().await;
        for waiter in round.drain(..) {
            // Whoever asked may have gone.
            let _ = waiter.send(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn whoever_comes_while_a_question_is_under_way_waits_for_the_next() {
        let (gate, waiters) = Gate::new();
        let (put, may_end) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
        let (counted, end) = (put.clone(), may_end.clone());
        let serving = tokio::spawn(serve(waiters, move || {
            let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
            let end = end.clone();
            async move {
                end.acquire().await.expect("open").forget();
                number
            }
        }));
        let first = gate.wait().expect("room");
        while put.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let (second, third) = (gate.wait().expect("room"), gate.wait().expect("room"));
        may_end.add_permits(2);
        assert_eq!((first.await, second.await, third.await), (Ok(1), Ok(2), Ok(2)));
        drop(gate);
        serving.await.expect("it ends with its gate");
    }
}
