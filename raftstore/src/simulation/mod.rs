//! Members of the store in one process, with a scheduler, a network, disks and clocks that come from a seed.
//!
//! What is simulated is this crate's own code, and openraft: `Consensus`, the log and its journal, the state machine with
//! its snapshots, tonic's client and the peer door, the requests of clients, the housekeeping. Replaced are
//!
//! | What | By what | Where |
//! |---|---|---|
//! | the network | streams of frames with delays, cuts (one-way, too), breaks and late repeats of requests | [`net`], [`carrier`], behind `raft::Connect` |
//! | the disk | files that lose or tear what was not synced, databases that keep a prefix of their batches | `journal::power`, `disk::memory`, behind `Files` and `States` |
//! | the log's thread, blocking work | tasks of the member, and work that is done at once | `raft::log_writer`, `raft::off_thread` |
//! | time | a paused clock for each member, that goes on by a millisecond a step; it may stop, and jump | [`member`] |
//! | chance | openraft's is drawn from the seed; tokio's watch channel, which wakes by chance, has a stand-in | [`runtime`], [`watch`] |
//!
//! Everything is on one thread. Each member has a runtime of its own: dropped, it ends at one moment, as a killed process
//! does. A step is one millisecond: what is due on the network arrives, then each member lives for a millisecond, in an
//! order of chance, and is looked at:
//!
//! - a term has one leader;
//! - entries are applied in order, and at one index every member applies the same entry, now and after each restart;
//! - states at one index have one digest: keys with their history, leases, membership;
//! - a member that comes back has no older vote than one that it told somebody;
//! - a member with power fails at nothing;
//! - a read that is linearizable sees what anybody was told before it began;
//! - at the end every acknowledged change is there.
//!
//! After the faults all is healed, and within a minute of simulated time every voter must take a write and all members be
//! at one index. What fails is a seed ([`cluster::Violation`] says how to replay it).

mod carrier;
mod clients;
mod cluster;
mod evidence;
mod member;
mod net;
mod runtime;
mod tests;
mod trace;
pub mod watch;

pub use runtime::{Runtime, planted, reached};
