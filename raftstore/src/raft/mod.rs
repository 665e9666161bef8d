//! Raft, by openraft, and everything that knows of openraft.
//!
//! The rest of the store speaks to [`Consensus`]: propose a command, ask for a read index, change the members. It is an
//! alpha release that stays behind this one door.

mod codec;
mod consensus;
mod departure;
mod entrance;
mod following;
mod forward;
mod gate;
mod log;
mod log_writer;
mod machine;
mod members;
mod network;
pub(crate) mod off_thread;
mod peer_door;
mod proposer;
mod snapshot;
mod snapshot_receiver;
mod snapshot_sender;
mod solitude;
mod types;

#[cfg(test)]
use crate::simulation::watch;
/// Values of which only the newest counts. tokio wakes those who wait for one in an order of its own chance; the
/// simulation has a channel that wakes them in the order of their asking.
#[cfg(not(test))]
use tokio::sync::watch;

#[cfg(test)]
pub use codec::{entry_to_wire, vote_to_wire};
pub use consensus::{Consensus, Settings};
pub use entrance::Entrance;
pub use log::Log;
#[cfg(test)]
pub use log_writer::LogWriter;
pub use machine::{Machine, WriterPermit};
#[cfg(test)]
pub use network::Connect;
pub use network::{Dialer, PeerChannel, PeerTls};
pub use peer_door::PeerDoor;
pub use snapshot::{FORMAT as SNAPSHOT_FORMAT, records as snapshot_records};
#[cfg(test)]
pub use types::Payload;
pub use types::Peer;
