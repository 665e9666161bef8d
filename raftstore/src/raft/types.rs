//! The types that openraft is given.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use keelson_wire::raft as wire;
use prost::Message as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

openraft::declare_raft_types!(
    pub TypeConfig:
        D = Command,
        R = Outcome,
        NodeId = u64,
        Node = Peer,
        LeaderId = LeaderId,
        AsyncRuntime = Runtime,
);

#[cfg(not(test))]
pub type Runtime = openraft::impls::TokioRuntime;
#[cfg(test)]
pub type Runtime = crate::simulation::Runtime;

/// A candidate, or a leader. A member votes for one of a term: a term has one leader at most.
pub type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>;
/// So the term names its leader.
pub type Term = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub type LogId = openraft::LogId<Term>;
pub type Vote = openraft::Vote<LeaderId>;
pub type Payload = openraft::EntryPayload<Command, u64, Peer>;
pub type Entry = openraft::Entry<Term, Payload>;
pub type Membership = openraft::Membership<u64, Peer>;
pub type StoredMembership = openraft::StoredMembership<Term, u64, Peer>;
pub type SnapshotMeta = openraft::SnapshotMeta<Term, u64, Peer>;

/// A member's name and where the others reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub name: String,
    pub urls: Vec<String>,
}

/// One command of the log: encoded once for disk and network, decoded once for applying. Cheap to clone.
#[derive(Clone)]
pub struct Command {
    pub message: Arc<wire::Command>,
    pub encoded: Bytes,
}

impl Command {
    /// The message is read back from its encoding, so that its keys and values are parts of one buffer of their own size.
    /// What came from a client are parts of what was received: many times their size, and held by the log's newest
    /// entries and the ring of changes for as long as those are kept.
    pub fn new(message: &wire::Command) -> Result<Self, prost::DecodeError> {
        Self::decode(message.encode_to_vec().into())
    }

    pub fn decode(encoded: Bytes) -> Result<Self, prost::DecodeError> {
        let message = wire::Command::decode(encoded.clone())?;
        Ok(Self { message: Arc::new(message), encoded })
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "command of {} bytes", self.encoded.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, formatter)
    }
}

impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.encoded)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let encoded = Vec::<u8>::deserialize(deserializer)?;
        Self::decode(encoded.into()).map_err(serde::de::Error::custom)
    }
}

/// What applying a command came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome(pub wire::Outcome);

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.encode_to_vec())
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let encoded = Vec::<u8>::deserialize(deserializer)?;
        wire::Outcome::decode(encoded.as_slice()).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use keelson_wire::etcdserverpb::PutRequest;

    use super::*;

    #[test]
    fn a_command_holds_nothing_of_the_buffer_that_it_was_received_in() {
        let received = Bytes::from(vec![b'v'; 8_192]);
        let put = PutRequest { key: received.slice(..3), value: received.slice(3..100), ..PutRequest::default() };
        let message = wire::Command { change: Some(wire::command::Change::Put(put)) };
        let command = Command::new(&message).expect("a command");
        drop(message);
        assert!(received.is_unique());
        let Some(wire::command::Change::Put(put)) = &command.message.change else { panic!("a put") };
        let buffer = command.encoded.as_ptr_range();
        assert!(buffer.contains(&put.key.as_ptr()) && buffer.contains(&put.value.as_ptr()), "one buffer has all of it");
    }
}
