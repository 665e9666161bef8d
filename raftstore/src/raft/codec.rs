//! Between openraft's types and the messages of the disk and the wire.

use std::collections::{BTreeMap, BTreeSet};

use keelson_wire::raft as wire;
use keelson_wire::raft::entry::Payload as WirePayload;

use super::types::{Command, Entry, LeaderId, LogId, Membership, Payload, Peer, StoredMembership, Vote};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a message lacks its {0}")]
    Lacks(&'static str),
    #[error("a command cannot be decoded: {0}")]
    Command(#[from] prost::DecodeError),
    #[error("a membership is not valid: {0}")]
    Membership(String),
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

pub fn log_id_to_wire(id: &LogId) -> wire::LogId {
    wire::LogId { term: id.leader_id.term, index: id.index }
}

pub fn log_id(id: wire::LogId) -> LogId {
    LogId { leader_id: id.term.into(), index: id.index }
}

pub fn vote_to_wire(vote: &Vote) -> wire::Vote {
    wire::Vote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
}

pub fn vote(vote: wire::Vote) -> Vote {
    Vote { leader_id: LeaderId { term: vote.term, voted_for: vote.node }, committed: vote.committed }
}

pub fn required_vote(given: Option<wire::Vote>) -> Result<Vote, Error> {
    given.map(vote).ok_or(Error::Lacks("vote"))
}

pub fn entry_to_wire(entry: &Entry) -> wire::Entry {
    let payload = match &entry.payload {
        Payload::Blank => None,
        Payload::Normal(command) => Some(WirePayload::Command(command.encoded.clone())),
        Payload::Membership(membership) => Some(WirePayload::Membership(membership_to_wire(membership))),
    };
    wire::Entry { log_id: Some(log_id_to_wire(&entry.log_id)), payload }
}

pub fn entry(entry: wire::Entry) -> Result<Entry, Error> {
    let id = log_id(entry.log_id.ok_or(Error::Lacks("log id"))?);
    let payload = match entry.payload {
        None => Payload::Blank,
        Some(WirePayload::Command(encoded)) => Payload::Normal(Command::decode(encoded)?),
        Some(WirePayload::Membership(members)) => Payload::Membership(membership(members)?),
    };
    Ok(Entry { log_id: id, payload })
}

pub fn membership_to_wire(membership: &Membership) -> wire::Membership {
    let voters = membership
        .get_joint_config()
        .iter()
        .map(|voters| wire::VoterSet { ids: voters.iter().copied().collect() })
        .collect();
    let nodes = membership
        .nodes()
        .map(|(id, peer)| wire::Node { id: *id, name: peer.name.clone(), peer_urls: peer.urls.clone() })
        .collect();
    wire::Membership { voters, nodes }
}

pub fn membership(membership: wire::Membership) -> Result<Membership, Error> {
    let voters: Vec<BTreeSet<u64>> =
        membership.voters.into_iter().map(|voters| voters.ids.into_iter().collect()).collect();
    let nodes: BTreeMap<u64, Peer> =
        membership.nodes.into_iter().map(|node| (node.id, Peer { name: node.name, urls: node.peer_urls })).collect();
    if voters.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(voters, nodes).map_err(|error| Error::Membership(error.to_string()))
}

pub fn stored_membership_to_wire(stored: &StoredMembership) -> wire::StoredMembership {
    wire::StoredMembership {
        log_id: stored.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(stored.membership())),
    }
}

pub fn stored_membership(stored: &wire::StoredMembership) -> Result<StoredMembership, Error> {
    let members = membership(stored.membership.clone().unwrap_or_default())?;
    Ok(StoredMembership::new(stored.log_id.map(log_id), members))
}
