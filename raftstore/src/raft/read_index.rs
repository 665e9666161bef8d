//! Linearizable reads: how far the state must be before a read may be answered.
//!
//! All reads that wait at one moment share one question to the leader. While it is under way the next ones gather, and
//! share the next: a read must not use an answer to a question that was put before it came.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::consensus::Consensus;
use crate::refusal::Refusal;

/// Reads that may wait at once.
const MAX_WAITING: usize = 65_536;

type Waiter = oneshot::Sender<Result<(), Refusal>>;

#[derive(Clone)]
pub struct ReadIndex {
    waiters: mpsc::Sender<Waiter>,
}

impl ReadIndex {
    /// The gate, and the queue for [`serve`].
    pub fn new() -> (Self, mpsc::Receiver<Waiter>) {
        let (waiters, queue) = mpsc::channel(MAX_WAITING);
        (Self { waiters }, queue)
    }

    /// Returns when the state of this member holds everything that was committed before the call.
    pub async fn passed(&self) -> Result<(), Refusal> {
        let (waiter, passed) = oneshot::channel();
        self.waiters.try_send(waiter).map_err(|_| Refusal::TooManyRequests)?;
        passed.await.map_err(|_| Refusal::Stopped)?
    }
}

/// Answers the waiters of one gate, round after round.
pub async fn serve(consensus: Arc<Consensus>, mut queue: mpsc::Receiver<Waiter>) {
    let mut round = Vec::new();
    while queue.recv_many(&mut round, MAX_WAITING).await > 0 {
        let outcome = match consensus.leader_read_index().await {
            Ok(index) => {
                consensus.machine().wait_applied(index).await;
                Ok(())
            }
            Err(refusal) => Err(refusal),
        };
        for waiter in round.drain(..) {
            // Whoever asked may have gone.
            let _ = waiter.send(outcome);
        }
    }
}
