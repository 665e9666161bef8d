//! Commands that came to a follower, on their way to the leader: whatever waits goes together.

use std::sync::Arc;

use keelson_wire::raft as wire;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::consensus::Consensus;
use super::types::{Command, Peer};

const MAX_TOGETHER: usize = 128;
const MAX_BYTES: usize = 8 << 20;
const QUEUE: usize = 16 << 10;
/// Calls to the leader that are under way at once.
const CALLS: usize = 16;

pub struct Forwarded {
    pub leader: Peer,
    pub command: Command,
    pub answer: oneshot::Sender<Fate>,
}

/// What came of a command that was forwarded.
pub enum Fate {
    Told(wire::Outcome),
    /// The leader may have it, or not.
    Unknown,
    /// The leader does not have it: it could not even be called.
    NotSent,
}

pub type Forwarder = mpsc::Sender<Forwarded>;

pub fn channel() -> (Forwarder, mpsc::Receiver<Forwarded>) {
    mpsc::channel(QUEUE)
}

pub async fn serve(consensus: Arc<Consensus>, mut queue: mpsc::Receiver<Forwarded>) {
    let calls = Arc::new(Semaphore::new(CALLS));
    let mut next = None;
    loop {
        let Some(first) = (match next.take() {
            Some(forwarded) => Some(forwarded),
            None => queue.recv().await,
        }) else {
            return;
        };
        let Ok(call) = calls.clone().acquire_owned().await else { return };
        let leader = first.leader.clone();
        let mut bytes = first.command.encoded.len();
        let mut together = vec![first];
        while together.len() < MAX_TOGETHER && bytes < MAX_BYTES {
            match queue.try_recv() {
                Ok(forwarded) if forwarded.leader == leader => {
                    bytes += forwarded.command.encoded.len();
                    together.push(forwarded);
                }
                Ok(forwarded) => {
                    next = Some(forwarded);
                    break;
                }
                Err(_) => break,
            }
        }
        let consensus = consensus.clone();
        tokio::spawn(async move {
            let _call = call;
            send(&consensus, &leader, together).await;
        });
    }
}

async fn send(consensus: &Consensus, leader: &Peer, together: Vec<Forwarded>) {
    let (commands, answers): (Vec<_>, Vec<_>) =
        together.into_iter().map(|forwarded| (forwarded.command.encoded, forwarded.answer)).unzip();
    let request = wire::ProposeRequest { cluster_id: consensus.cluster_id(), commands };
    let response = match consensus.dialer().client(leader) {
        Ok(mut client) => client.propose(request).await.map(tonic::Response::into_inner),
        Err(status) => Err(status),
    };
    match response {
        Ok(response) => {
            // A client that then reads from this member, serializably, must see what it wrote.
            consensus.machine().wait_applied(response.index).await;
            for (answer, outcome) in answers.into_iter().zip(response.outcomes) {
                let _ = answer.send(Fate::Told(outcome));
            }
        }
        Err(status) => {
            tracing::debug!(%status, "the leader did not take forwarded commands");
            let was_called = !is_connect_error(&status);
            for answer in answers {
                let _ = answer.send(if was_called { Fate::Unknown } else { Fate::NotSent });
            }
        }
    }
}

fn is_connect_error(status: &tonic::Status) -> bool {
    let mut causes = std::iter::successors(std::error::Error::source(status), |cause| cause.source());
    causes.any(|cause| cause.is::<tonic::ConnectError>())
}

#[cfg(test)]
mod tests {
    use keelson_wire::raft::raft_client::RaftClient;

    use super::*;

    #[tokio::test]
    async fn who_could_not_be_called_does_not_have_it() {
        // Nobody listens where a listener was just now.
        let closed = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = format!("http://{}", closed.expect("a port"));
        let channel = tonic::transport::Endpoint::from_shared(address).expect("an address").connect_lazy();
        let refused = RaftClient::new(channel).propose(wire::ProposeRequest::default()).await.expect_err("refused");
        assert!(is_connect_error(&refused), "{refused:?}");
        assert!(!is_connect_error(&tonic::Status::unavailable("the stream broke off")));
    }
}
