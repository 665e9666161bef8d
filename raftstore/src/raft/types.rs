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
        AsyncRuntime = Runtime,
);

#[cfg(not(test))]
pub type Runtime = openraft::impls::TokioRuntime;
#[cfg(test)]
pub type Runtime = crate::simulation::Runtime;

pub type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub type LogId = openraft::LogId<LeaderId>;
pub type Vote = openraft::Vote<LeaderId>;
pub type Payload = openraft::EntryPayload<Command, u64, Peer>;
pub type Entry = openraft::Entry<LeaderId, Payload>;
pub type Membership = openraft::Membership<u64, Peer>;
pub type StoredMembership = openraft::StoredMembership<LeaderId, u64, Peer>;
pub type SnapshotMeta = openraft::SnapshotMeta<LeaderId, u64, Peer>;

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
    pub fn new(message: wire::Command) -> Self {
        let encoded = message.encode_to_vec().into();
        Self { message: Arc::new(message), encoded }
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
