//! A leader's process that has ended is replaced at once, not when its lease and an election timeout have passed.
//!
//! When a stream of a leader's entries breaks off, its follower asks the kernel at the leader's address: a connection that
//! is refused says that nobody listens there any more. Silence says nothing (a slow machine, a cut), so timeouts alone
//! decide then. The follower stops honouring the lease of that term, and campaigns by pre-vote. It is one vote of a
//! quorum: the others grant it by their own sight of the leader only (one that has no stream yet looks when another
//! campaigns), and by the same rules of terms and logs as ever. So a follower that is wrong costs nothing, and nobody's
//! safety hangs on this.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::errors::Fatal;
use openraft::raft::TransferLeaderRequest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::consensus::Consensus;
use super::types::{Peer, TypeConfig, Vote};

/// A process that is ending closes its connections and its doors one after the other.
const LOOKS: usize = 3;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
const LOOK_PATIENCE: Duration = Duration::from_millis(200);
/// Followers campaign one after the other, so that they do not split the votes.
const TURN: Duration = Duration::from_millis(40);
/// The first may have a shorter log than the others, or see the leader's end before they do.
const CAMPAIGNS: u32 = 4;

/// Held beside a stream of entries: rings unless the stream has come to its own end.
pub struct Line {
    bell: Arc<Notify>,
    ended: bool,
}

impl Line {
    pub fn new(bell: Arc<Notify>) -> Self {
        Self { bell, ended: false }
    }

    pub fn has_ended(&mut self) {
        self.ended = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.ended {
            self.bell.notify_one();
        }
    }
}

pub(super) async fn serve(consensus: Arc<Consensus>, bell: Arc<Notify>) {
    loop {
        bell.notified().await;
        let Some((vote, leader)) = followed(&consensus) else { continue };
        let Some(peer) = consensus.peer(leader) else { continue };
        if !is_gone(&peer).await {
            continue;
        }
        tracing::info!(leader = format!("{leader:x}"), "the leader's process has ended");
        if let Err(error) = succeed(&consensus, vote, leader).await {
            tracing::debug!(%error, "this member has stopped");
            return;
        }
    }
}

/// The established leader that this voter follows, and its vote.
fn followed(consensus: &Consensus) -> Option<(Vote, u64)> {
    let metrics = consensus.raft.server_metrics();
    let metrics = metrics.borrow_watched();
    let leader = metrics.current_leader.filter(|leader| *leader != consensus.id())?;
    metrics.vote.committed.then_some((metrics.vote, leader))
}

async fn is_gone(peer: &Peer) -> bool {
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
        if refuses(peer).await {
            return true;
        }
    }
    false
}

/// The leader's place is open: nobody was voted for since, or this member by itself, which the others did not join.
fn is_open(now: &Vote, leader: &Vote, own: u64) -> bool {
    now == leader || (!now.committed && now.leader_id.voted_for == own)
}

/// Every address of the member refuses.
async fn refuses(peer: &Peer) -> bool {
    let addresses = peer.urls.iter().filter_map(|url| Some(url.split_once("://")?.1.trim_end_matches('/')));
    let mut any = false;
    for address in addresses {
        match tokio::time::timeout(LOOK_PATIENCE, TcpStream::connect(address)).await {
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => any = true,
            _ => return false,
        }
    }
    any
}

async fn succeed(consensus: &Consensus, vote: Vote, leader: u64) -> Result<(), Fatal<TypeConfig>> {
    // To openraft it is a leader that has handed its leadership to nobody here: its lease counts no longer.
    let handed = TransferLeaderRequest::new(vote, leader, None);
    // Its answer tells a leader of a refusal; there is none to be told.
    let _ = consensus.raft.handle_transfer_leader(handed).await?;
    let mut heirs: Vec<u64> =
        consensus.members().into_iter().filter(|member| !member.2).map(|member| member.0).collect();
    heirs.retain(|id| *id != leader);
    let Some(place) = heirs.iter().position(|id| *id == consensus.id()) else { return Ok(()) };
    let mut pause = TURN * place as u32;
    for _ in 0..CAMPAIGNS {
        tokio::time::sleep(pause).await;
        if !is_open(&consensus.raft.server_metrics().borrow_watched().vote, &vote, consensus.id()) {
            return Ok(());
        }
        consensus.raft.trigger().elect(true).await?;
        // Those who did split the votes come one after the other now.
        pause = TURN * (heirs.len() + place) as u32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_door_is_told_from_an_open_one() {
        // On an address that is no connection's source, so that nobody takes the port when it is closed.
        let listener = tokio::net::TcpListener::bind("127.77.7.7:0").await.expect("a door");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let peer = Peer { name: "a".to_owned(), urls: vec![url.clone()] };
        assert!(!refuses(&peer).await, "it is open");
        drop(listener);
        assert!(refuses(&peer).await, "it is closed");
        assert!(!refuses(&Peer { name: "a".to_owned(), urls: Vec::new() }).await, "nothing is known");
    }

    #[test]
    fn a_place_is_open_until_another_is_voted_for() {
        let (leader, own, other) = (Vote::new_committed(3, 1), 2, 3);
        assert!(is_open(&leader, &leader, own));
        assert!(is_open(&Vote::new(4, own), &leader, own), "the votes may have been split");
        for taken in [Vote::new(4, other), Vote::new_committed(4, own), Vote::new_committed(4, other)] {
            assert!(!is_open(&taken, &leader, own), "{taken}");
        }
    }

    #[tokio::test]
    async fn a_stream_that_has_ended_rings_nobody() {
        let bell = Arc::new(Notify::new());
        let mut line = Line::new(bell.clone());
        line.has_ended();
        drop(line);
        assert!(futures::FutureExt::now_or_never(bell.notified()).is_none());
        drop(Line::new(bell.clone()));
        assert!(futures::FutureExt::now_or_never(bell.notified()).is_some());
    }
}
