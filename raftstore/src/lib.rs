//! raftstore: the replicated store of a Keelson cluster, spoken to in etcd's v3 gRPC API.
//!
//! It promises that what it has acknowledged is on the disks of a quorum and is never lost; that every read is
//! linearizable unless it asks not to be; that a watch sees every change once, in order, without a gap; and that each of
//! its queues, caches and buffers has a bound. `raftstore/README.md` names the test that holds each promise.

mod backup;
pub mod bootstrap;
pub mod disk;
mod doors;
mod housekeeping;
mod journal;
mod leases;
mod member;
pub mod mvcc;
mod options;
mod raft;
pub mod refusal;
mod watch;

pub use member::{Running, run, start};
pub use options::{CompactionMode, InitialState, Options};

/// Why a member cannot start or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error(transparent)]
    Disk(#[from] disk::Error),
    #[error("TLS: {0}")]
    Identity(#[from] keelson_process::identity::Error),
    #[error("cannot listen on {url}: {source}")]
    Listen { url: String, source: std::io::Error },
    #[error("raft: {0}")]
    Consensus(String),
}
