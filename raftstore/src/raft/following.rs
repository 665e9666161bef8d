//! Whether a leader is followed still: asked of the voters themselves, before reads are answered.
//!
//! A voter that has the leader's vote has voted for nobody after it. When a quorum says so after a read was asked for,
//! no other leader had a quorum before; so whatever was committed till then, this leader knows of (Ongaro, "Consensus:
//! bridging theory and practice", section 6.4).
//!
//! openraft asks, too, by the acknowledgements of what it sends after the question. It takes those of older entries for
//! them where they come late (0.10.0-alpha.37, `InflightAppendQueue::drain_acked`): a leader that had been cut off and
//! replaced answered reads when the cut ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use keelson_wire::raft as wire;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::codec::vote_to_wire;
use super::gate::{self, Gate};
use super::log::Log;
use super::network::Dialer;
use super::types::{Membership, Peer};

/// Between two questions to a voter that does not follow, or does not answer.
const PAUSE: Duration = Duration::from_millis(20);

/// The leader of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub leader: u64,
    pub term: u64,
}

impl Claim {
    fn is_heeded(self, vote: Option<&wire::Vote>) -> bool {
        vote.is_some_and(|vote| (vote.node, vote.term) == (self.leader, self.term))
    }
}

/// What a voter said of itself, and which one.
pub type Heard = (u64, wire::Vote);

struct Voter {
    peer: Peer,
    vote: Gate<Option<wire::Vote>>,
}

pub struct Following {
    dialer: Dialer,
    log: Log,
    /// How long a voter may take for its answer.
    patience: Duration,
    voters: Mutex<BTreeMap<u64, Voter>>,
}

/// A majority of each set: of both, while the membership changes.
fn is_quorum(sets: &[BTreeSet<u64>], following: &BTreeSet<u64>) -> bool {
    sets.iter().all(|set| 2 * set.intersection(following).count() > set.len())
}

impl Following {
    pub fn new(dialer: Dialer, log: Log, patience: Duration) -> Self {
        Self { dialer, log, patience, voters: Mutex::default() }
    }

    /// This member's newest vote. Whatever it has granted to anybody, it has had here before.
    pub fn own_vote(&self) -> Option<wire::Vote> {
        self.log.vote().as_ref().map(vote_to_wire)
    }

    /// Returns when a quorum has followed this member in its claim since the call. Does not return otherwise.
    ///
    /// `heard`: a voter's answer that is as new.
    pub async fn confirmed(&self, claim: Claim, membership: &Membership, heard: Option<Heard>) {
        let sets = membership.get_joint_config();
        let mut following = BTreeSet::new();
        if claim.is_heeded(self.own_vote().as_ref()) {
            following.insert(claim.leader);
        }
        following.extend(heard.filter(|(_, vote)| claim.is_heeded(Some(vote))).map(|(voter, _)| voter));
        if is_quorum(sets, &following) {
            return;
        }
        let others: BTreeSet<u64> = membership.voter_ids().filter(|voter| !following.contains(voter)).collect();
        let others = others.into_iter().filter(|voter| *voter != claim.leader);
        let mut answers: FuturesUnordered<_> = others.map(|voter| self.follows(claim, voter, membership)).collect();
        while let Some(voter) = answers.next().await {
            following.insert(voter);
            if is_quorum(sets, &following) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Returns when the voter has said that it does.
    async fn follows(&self, claim: Claim, voter: u64, membership: &Membership) -> u64 {
        loop {
            let asked = self.ask(voter, membership);
            if let Some(answer) = asked
                && let Ok(vote) = answer.await
                && claim.is_heeded(vote.as_ref())
            {
                return voter;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// One question to each voter is under way, and whoever asks meanwhile shares the next one.
    fn ask(&self, id: u64, membership: &Membership) -> Option<oneshot::Receiver<Option<wire::Vote>>> {
        let peer = membership.get_node(&id)?;
        let mut voters = self.voters.lock();
        if voters.get(&id).is_none_or(|voter| voter.peer != *peer) {
            voters.retain(|id, _| membership.get_node(id).is_some());
            let (vote, waiters) = Gate::new();
            let (dialer, asked, patience) = (self.dialer.clone(), peer.clone(), self.patience);
            tokio::spawn(gate::serve(waiters, move || vote_of(dialer.clone(), id, asked.clone(), patience)));
            voters.insert(id, Voter { peer: peer.clone(), vote });
        }
        voters.get(&id)?.vote.wait().ok()
    }
}

async fn vote_of(dialer: Dialer, target: u64, peer: Peer, patience: Duration) -> Option<wire::Vote> {
    let mut request = tonic::Request::new(wire::VoteOfRequest { cluster_id: dialer.cluster_id(), target });
    request.set_timeout(patience);
    dialer.client(&peer).ok()?.vote_of(request).await.ok()?.into_inner().vote
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_is_a_majority_of_each_set() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        assert!(is_quorum(&[set(&[1])], &set(&[1])));
        assert!(!is_quorum(&[set(&[1, 2])], &set(&[1])));
        assert!(is_quorum(&[set(&[1, 2, 3])], &set(&[1, 3])));
        assert!(!is_quorum(&[set(&[1, 2, 3, 4])], &set(&[1, 2])));
        // Others do not count.
        assert!(!is_quorum(&[set(&[1, 2, 3])], &set(&[1, 7, 8])));
        let joint = [set(&[1, 2, 3]), set(&[3, 4, 5])];
        assert!(!is_quorum(&joint, &set(&[1, 2, 3])));
        assert!(is_quorum(&joint, &set(&[1, 3, 4])));
    }

    #[test]
    fn a_claim_is_heeded_by_who_has_this_vote() {
        let claim = Claim { leader: 2, term: 7 };
        let vote = |term, node, committed| wire::Vote { term, node, committed };
        assert!(claim.is_heeded(Some(&vote(7, 2, true))));
        // It has voted, and not heard yet that the others have, too.
        assert!(claim.is_heeded(Some(&vote(7, 2, false))));
        for other in [vote(7, 1, false), vote(8, 2, false), vote(6, 2, true)] {
            assert!(!claim.is_heeded(Some(&other)));
        }
        assert!(!claim.is_heeded(None));
    }
}
