//! Changes of the membership, on the leader and by way of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use keelson_wire::raft as wire;
use keelson_wire::raft::change_members_request::Change;
use openraft::ChangeMembers;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use tonic::Status;

use super::consensus::Consensus;
use super::types::{Peer, TypeConfig};
use crate::refusal::Refusal;

/// How long it may take to see what is committed, for one who asks whether it is known.
const LOOK: Duration = Duration::from_secs(2);

type Failed = RaftError<TypeConfig, ClientWriteError<TypeConfig>>;

fn refusal(error: Failed) -> Refusal {
    match error {
        RaftError::Fatal(_) => Refusal::Stopped,
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Refusal::NotLeader,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            tracing::warn!(%error, "a change of the members is refused");
            match error {
                ChangeMembershipError::LearnerNotFound(_) => Refusal::MemberNotFound,
                _ => Refusal::NotEnoughStarted,
            }
        }
        RaftError::APIError(_) => Refusal::LeaderChanged,
    }
}

impl Consensus {
    /// Whether this member of the cluster has ever taken part; None if that cannot be told at present.
    pub(super) async fn knows(&self, id: u64) -> Option<bool> {
        let has_taken_part = || {
            let was_introduced = self.machine().state().members.contains_key(&id);
            was_introduced || self.matched(id).is_some_and(|index| index > 0)
        };
        if has_taken_part() {
            return Some(true);
        }
        // What is committed may not have come here yet.
        let passed = tokio::time::timeout(LOOK, self.read_barrier()).await;
        matches!(passed, Ok(Ok(()))).then(has_taken_part)
    }

    /// Carries out the change here if this member leads, else asks the leader to.
    pub async fn change_members(&self, change: Change, voter: bool) -> Result<(), Status> {
        let leadership = self.leadership();
        let leader = leadership.leader.ok_or(Refusal::NoLeader)?;
        if !leadership.is_leader {
            let peer = self.peer(leader).ok_or(Refusal::NoLeader)?;
            let cluster_id = self.cluster_id();
            let request = wire::ChangeMembersRequest { cluster_id, change: Some(change), voter };
            return self.dialer().client(&peer)?.change_members(request).await.map(drop);
        }
        let peer = |node: wire::Node| (node.id, Peer { name: node.name, urls: node.peer_urls });
        let outcome = match change {
            Change::Add(node) => {
                let (id, peer) = peer(node);
                self.add_member_here(id, peer, voter).await
            }
            Change::Remove(id) => self.remove_member_here(id).await,
            Change::Promote(id) => self.promote_member_here(id).await,
            Change::Update(node) => {
                let (id, peer) = peer(node);
                self.update_member_here(id, peer).await
            }
            Change::MoveLeader(id) => self.move_leader(id).await,
        };
        Ok(outcome?)
    }

    /// A voter, too, begins as a learner. It becomes a voter at once, as in etcd: the operator starts it next.
    pub(super) async fn add_member_here(&self, id: u64, peer: Peer, voter: bool) -> Result<(), Refusal> {
        let members = self.members();
        if members.iter().any(|(known, _, _)| *known == id) {
            return Err(Refusal::MemberExists);
        }
        if members.iter().any(|(_, known, _)| known.urls.iter().any(|url| peer.urls.contains(url))) {
            return Err(Refusal::PeerUrlExists);
        }
        self.raft.add_learner(id, peer, false).await.map_err(refusal)?;
        if voter { self.promote(id).await } else { Ok(()) }
    }

    pub(super) async fn promote_member_here(&self, id: u64) -> Result<(), Refusal> {
        let members = self.members();
        let member = members.iter().find(|(known, _, _)| *known == id).ok_or(Refusal::MemberNotFound)?;
        if !member.2 {
            return Err(Refusal::MemberNotLearner);
        }
        if !self.is_in_sync(id) {
            return Err(Refusal::LearnerNotReady);
        }
        self.promote(id).await
    }

    async fn promote(&self, id: u64) -> Result<(), Refusal> {
        let voters = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
        self.raft.change_membership(voters, true).await.map(drop).map_err(refusal)
    }

    /// As etcd judges it: the learner has nine tenths of the leader's log.
    fn is_in_sync(&self, id: u64) -> bool {
        let last = self.last_log_index();
        self.matched(id).is_some_and(|matched| matched * 10 >= last * 9)
    }

    /// How far the other member's log is known to be the same as this one's, if this member leads.
    pub(super) fn matched(&self, id: u64) -> Option<u64> {
        use openraft::async_runtime::watch::WatchReceiver as _;
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.replication.as_ref()?.get(&id).cloned().flatten().map(|matched| matched.index)
    }

    pub(super) async fn remove_member_here(&self, id: u64) -> Result<(), Refusal> {
        let members = self.members();
        let member = members.iter().find(|(known, _, _)| *known == id).ok_or(Refusal::MemberNotFound)?;
        let gone = BTreeSet::from([id]);
        let change = if member.2 { ChangeMembers::RemoveNodes(gone) } else { ChangeMembers::RemoveVoters(gone) };
        self.raft.change_membership(change, false).await.map(drop).map_err(refusal)
    }

    pub(super) async fn update_member_here(&self, id: u64, mut peer: Peer) -> Result<(), Refusal> {
        let known = self.peer(id).ok_or(Refusal::MemberNotFound)?;
        if peer.name.is_empty() {
            peer.name = known.name;
        }
        let change = ChangeMembers::SetNodes(BTreeMap::from([(id, peer)]));
        self.raft.change_membership(change, true).await.map(drop).map_err(refusal)
    }
}
