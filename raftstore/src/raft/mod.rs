//! Raft, by openraft, and everything that knows of openraft.
//!
//! The rest of the store speaks to [`Consensus`]: propose a command, ask for a read index, change the members. It is an
//! alpha release that stays behind this one door.

mod codec;
mod consensus;
mod departure;
mod forward;
mod log;
mod log_writer;
mod machine;
mod members;
mod network;
mod peer_door;
mod read_index;
mod snapshot;
mod types;

pub use consensus::{Consensus, Settings};
pub use log::Log;
pub use machine::{Machine, WriterPermit};
pub use network::{Dialer, PeerTls};
pub use peer_door::PeerDoor;
pub use snapshot::{FORMAT as SNAPSHOT_FORMAT, records as snapshot_records};
pub use types::Peer;
