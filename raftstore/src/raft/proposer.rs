//! Commands on their way into the log: what is proposed at one moment goes together.
//!
//! A task that is woken runs next, before those that were ready already: of many commands that came at once, openraft's
//! would take the first, and be woken by the second again. A turn of it costs as much as all else that it does for a
//! command. So who has something to propose has it collected; the collector waits one turn, in which all who are ready
//! to run add theirs.

use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use tokio::sync::mpsc;

use super::consensus::RaftHandle;
use super::types::{Command, TypeConfig};

/// What waits at most; who comes then waits for a place.
const QUEUE: usize = 4096;

pub type Responder = ProgressResponder<TypeConfig, ClientWriteResult<TypeConfig>>;

/// A command, and whom to tell what came of it.
pub struct Proposed {
    pub command: Command,
    pub responder: Responder,
}

pub type Proposer = mpsc::Sender<Proposed>;

pub fn channel() -> (Proposer, mpsc::Receiver<Proposed>) {
    mpsc::channel(QUEUE)
}

/// Ends when openraft has; whoever still waits is told by its responder's end.
pub async fn serve(raft: RaftHandle, mut queue: mpsc::Receiver<Proposed>) {
    let mut together = Vec::new();
    while queue.recv_many(&mut together, QUEUE).await > 0 {
        tokio::task::yield_now().await;
        while let Ok(proposed) = queue.try_recv() {
            together.push(proposed);
        }
        for Proposed { command, responder } in together.drain(..) {
            if raft.client_write_ff(command, Some(responder)).await.is_err() {
                return;
            }
        }
    }
}
