//! raftstore: the replicated store of a Keelson cluster, spoken to in etcd's v3 gRPC API.
//!
//! It promises that what it has acknowledged is on the disks of a quorum and is never lost; that every read is
//! linearizable unless it asks not to be; that a watch sees every change once, in order, without a gap; and that each of
//! its queues, caches and buffers has a bound. `raftstore/README.md` names the test that holds each promise.

mod backup;
pub mod bootstrap;
pub mod disk;
mod doors;
mod failpoints;
mod housekeeping;
mod journal;
mod leases;
mod member;
pub mod mvcc;
mod novelty;
mod offline;
mod options;
mod raft;
pub mod refusal;
#[cfg(test)]
mod simulation;
mod watch;

pub use member::{Running, run, start};
pub use options::{CompactionMode, InitialState, Options};

/// The process: what its flags say, until it is asked to end.
pub fn process() -> std::process::ExitCode {
    if let Some(command) = offline::Command::given() {
        return offline::run(command);
    }
    let options: Options = keelson_process::configuration::parse();
    let mut telemetry = options.telemetry.clone();
    // What openraft and sled call information is for their developers, and a member that is away is worth one line, not
    // one for each attempt. A filter of the operator's own is left alone.
    if !telemetry.log_level.contains(['=', ',']) {
        telemetry.log_level.push_str(",openraft=warn,openraft::raft::responder=error,openraft::replication=error");
        telemetry.log_level.push_str(",openraft::engine::handler::replication_handler=error");
        telemetry.log_level.push_str(",openraft::core::heartbeat=error,sled=warn");
    }
    keelson_process::main("raftstore", &telemetry, |process| run(options, process))
}

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
    #[error("stopped before it took part")]
    Stopped,
}
