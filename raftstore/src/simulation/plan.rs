//! What a run is to be, and what it came to.

use super::sightings::Counts;
use crate::failpoints::Bug;

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub members: u64,
    /// Simulated time with faults.
    pub millis: u64,
    pub bug: Option<Bug>,
    /// See [`Surroundings::judge_votes`].
    pub judge_votes: bool,
    /// Nothing but slow disks, and all power cut at once.
    pub power_cuts_only: bool,
    pub loud: bool,
}

impl Plan {
    /// What the seed alone decides.
    pub fn of(seed: u64) -> Self {
        let members = if seed.is_multiple_of(3) { 5 } else { 3 };
        Self { seed, members, millis: 20_000, bug: None, judge_votes: true, power_cuts_only: false, loud: false }
    }
}

/// What a run came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    pub trace: u64,
    pub events: u64,
    pub acknowledged: u64,
    pub reads: u64,
    pub unknown: u64,
    pub terms: u64,
    /// Snapshots that members took over from others, and how often one went on after its stream had broken.
    pub snapshots: u64,
    pub resumed: u64,
    /// Of these, the ones that went on after the receiver's end.
    pub outlived: u64,
    pub crashes: u64,
    pub changes: u64,
    /// Leases whose time was up, and renewals that clients were told of.
    pub leases_ended: u64,
    pub renewals: u64,
    pub watched: Counts,
    /// The history was compacted, or the log was purged, before it was seen: a part of the run was not judged.
    pub is_torn: bool,
    pub last_index: u64,
    /// Simulated time from the healing to the rest.
    pub rest_millis: u64,
}

#[derive(Debug)]
pub struct Violation {
    pub seed: u64,
    pub at: u64,
    pub what: String,
    pub trace: u64,
    pub tail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, at, what, trace, tail } = self;
        write!(formatter, "{tail}seed {seed}, at {at} ms: {what} (trace {trace:016x})\nreplay: ")?;
        write!(formatter, "RAFTSTORE_SEEDS={seed} RAFTSTORE_TRACE=1 cargo test --release -p raftstore --lib ")?;
        write!(formatter, "simulation::tests::many_seeds -- --ignored --nocapture")
    }
}
