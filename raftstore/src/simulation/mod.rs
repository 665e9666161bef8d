//! Members of the store in one process, with a scheduler, a network, disks and clocks that come from a seed.
//!
//! What is simulated is this crate's own code, and openraft: `Consensus`, the log and its journal, the state machine with
//! its snapshots, tonic's client and the peer door, the requests of clients, their watches, the leases and the
//! housekeeping. Replaced are
//!
//! | What | By what | Where |
//! |---|---|---|
//! | the network | streams of frames with delays, cuts (one-way, too), breaks and late repeats of requests | [`net`], [`carrier`], behind `raft::Connect` |
//! | the disk | files that lose or tear what was not synced, databases that keep a prefix of their batches | `journal::power`, `disk::memory`, behind `Files` and `States` |
//! | the log's thread, blocking work | tasks of the member, and work that is done at once | `raft::log_writer`, `raft::off_thread` |
//! | the time that applying takes | a pause now and then | [`runtime`] |
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
//! - a member that comes back has no older vote than one that it told somebody, tells no older one, and votes for one
//!   member of a term;
//! - a member with power fails at nothing;
//! - a read that is linearizable sees what anybody was told before it began;
//! - a watch is shown each change in its range once, in order, all of a revision together, from where it began; progress
//!   is honest; a list is the picture of its revision; only a compaction ends a watch, and a list and its watch add up to
//!   the state ([`sightings`], against [`chronicle`]);
//! - no lease ends before its time after the last renewal that somebody was told of ([`leases`]);
//! - at the end every acknowledged change is there.
//!
//! Clients put, delete, read, compact, and grant, renew and revoke leases, on every member ([`clients`]); others watch, and
//! go on behind what they know when their stream ends, on whatever member ([`watchers`]).
//!
//! After the faults all is healed, and within a minute of simulated time every voter must take a write, all members be at
//! one index, every watch have been told everything, and the leases that nobody renews have ended ([`rest`]). What fails is
//! a seed ([`plan::Violation`] says how to replay it).

mod carrier;
mod chronicle;
mod clients;
mod cluster;
mod evidence;
mod faults;
mod leases;
mod member;
mod net;
mod plan;
mod rest;
mod runtime;
mod sightings;
mod tests;
mod trace;
pub mod watch;
mod watchers;

pub use runtime::{Runtime, before_applying, planted, reached};
