//! What must hold at every step, and what was seen of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use keelson_wire::raft as wire;
use openraft::RaftLogReader as _;
use openraft::storage::RaftLogStorage as _;
use parking_lot::Mutex;
use prost::Message as _;

use super::chronicle::Chronicle;
use super::leases::{Leases, Told};
use super::net::{Id, follows};
use super::trace::digest;
use crate::mvcc::{Key, Revision, State, Values as _};
use crate::raft::{Consensus, Payload, entry_to_wire};

/// A change that a client was told of; a delete is a change to nothing.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// What clients saw, shared by all of them. They find out themselves what contradicts itself.
#[derive(Default)]
pub struct History {
    /// By revision, in their order.
    pub acknowledged: BTreeMap<i64, Vec<Acknowledged>>,
    /// The highest revision that any client knows of.
    pub known: i64,
    pub reads: u64,
    pub unknown: u64,
    pub leases: Leases,
    /// Of leases, and not judged yet.
    pub told: Vec<Told>,
    pub violation: Option<String>,
}

pub type SharedHistory = Arc<Mutex<History>>;

impl History {
    pub fn acknowledge(&mut self, revision: i64, changes: Vec<Acknowledged>) {
        self.known = self.known.max(revision);
        if let Some(other) = self.acknowledged.insert(revision, changes) {
            self.violate(format!("two changes were acknowledged at revision {revision}, one of them {other:?}"));
        }
    }

    /// `floor`: what somebody knew before the read began.
    pub fn read(&mut self, key: &[u8], floor: i64, revision: i64, found: Option<(i64, Vec<u8>)>) {
        self.reads += 1;
        if revision < floor {
            self.violate(format!("a linearizable read saw revision {revision} after {floor} was known"));
        }
        self.known = self.known.max(revision);
        let newest = self.acknowledged.range(..=revision).rev().find_map(|(at, changes)| {
            let change = changes.iter().find(|change| change.key == key)?;
            Some((*at, change.value.clone()))
        });
        let (at, value) = found.map_or((0, None), |(at, value)| (at, Some(value)));
        if let Some((acknowledged, expected)) = newest
            && (at < acknowledged || (at == acknowledged && value.as_ref() != Some(&expected)))
        {
            let key = String::from_utf8_lossy(key).into_owned();
            self.violate(format!("a read of {key} at {revision} found the change of {at}, not that of {acknowledged}"));
        }
    }

    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }
}

/// What is compared between the members.
#[derive(Default)]
pub struct Evidence {
    /// By index: what was applied there, first seen on this member.
    committed: BTreeMap<u64, (u64, Id)>,
    /// By index: the state's digest after it.
    states: BTreeMap<u64, (u64, Id)>,
    /// By member of this run: how far its log was compared.
    compared: BTreeMap<Id, u64>,
    /// By term: the member that led.
    leaders: BTreeMap<u64, Id>,
    pub chronicle: Chronicle,
}

type Outcome = Result<(), String>;

/// Everything of a state that the members must agree on.
fn state_digest(state: &State) -> Result<u64, String> {
    let mut all = Vec::new();
    for indexed in state.keys.in_order().iter() {
        let key = indexed.key();
        for revision in indexed.revisions(state.revision) {
            // What is compacted leaves each member when it has the time.
            if revision.main > state.compacted {
                all.extend_from_slice(key);
                all.extend_from_slice(&Key::Record(revision).encode());
                let value = state.value(revision).map_err(|error| error.to_string())?;
                let value = value.ok_or_else(|| format!("the record of revision {} is missing", revision.main))?;
                all.extend_from_slice(&value.encode_to_vec());
            }
        }
        if let Some(seen) = indexed.at(state.revision) {
            all.extend_from_slice(key);
            all.extend_from_slice(&seen.revision.main.to_be_bytes());
        }
    }
    for (id, lease) in &state.leases {
        all.extend_from_slice(&id.to_be_bytes());
        all.extend_from_slice(&lease.ttl.to_be_bytes());
        lease.keys.iter().for_each(|key| all.extend_from_slice(key));
    }
    all.extend_from_slice(&state.revision.to_be_bytes());
    all.extend_from_slice(&state.compacted.to_be_bytes());
    all.extend_from_slice(&state.position.membership.encode_to_vec());
    Ok(digest(&all))
}

impl Evidence {
    /// The member was started: what is on its disk is compared anew.
    pub fn forget(&mut self, id: Id) {
        self.compared.remove(&id);
    }

    /// What a member that comes back still knows of its vote.
    pub fn vote(id: Id, kept: Option<wire::Vote>, promised: Option<wire::Vote>) -> Outcome {
        match promised {
            Some(promised) if kept.is_none_or(|kept| !follows(&kept, &promised)) => {
                Err(format!("member {id} forgot its vote: it told others {promised:?} and has {kept:?} after a crash"))
            }
            _ => Ok(()),
        }
    }

    /// Looks at a member; called after each of its steps.
    pub async fn look(&mut self, consensus: &Consensus, now: u64, history: &SharedHistory) -> Outcome {
        let id = consensus.id();
        if let Some(cause) = consensus.failure() {
            return Err(format!("member {id} cannot go on: {cause}"));
        }
        let leadership = consensus.leadership();
        if leadership.is_leader {
            let leader = *self.leaders.entry(leadership.term).or_insert(id);
            if leader != id {
                return Err(format!("members {leader} and {id} both lead in term {}", leadership.term));
            }
        }
        let applied = consensus.machine().applied_index();
        let compared = self.compared.get(&id).copied().unwrap_or(0);
        if applied == compared {
            return Ok(());
        }
        self.compare_entries(consensus, compared..applied, now, history).await?;
        self.compared.insert(id, applied);
        let state = consensus.machine().state();
        self.chronicle.look(&state).map_err(|what| format!("member {id}: {what}"))?;
        let digest = state_digest(&state).map_err(|what| format!("member {id}: {what}"))?;
        let at = state.applied_index();
        let (known, other) = *self.states.entry(at).or_insert((digest, id));
        if known != digest {
            return Err(format!("the states of members {other} and {id} differ at index {at}"));
        }
        Ok(())
    }

    async fn compare_entries(
        &mut self,
        consensus: &Consensus,
        Range { start: compared, end: applied }: Range<u64>,
        now: u64,
        history: &SharedHistory,
    ) -> Outcome {
        let id = consensus.id();
        let mut log = consensus.log().clone();
        let state = log.get_log_state().await.map_err(|error| error.to_string())?;
        let purged = state.last_purged_log_id.map_or(0, |purged| purged.index);
        let first = compared.max(purged) + 1;
        let entries = log.try_get_log_entries(first..=applied).await.map_err(|error| error.to_string())?;
        let leases = &mut history.lock().leases;
        leases.is_torn |= first > self.last() + 1;
        for (index, entry) in (first..).zip(entries) {
            if entry.log_id.index != index {
                return Err(format!("member {id} has entry {} at index {index}", entry.log_id));
            }
            let digest = digest(&entry_to_wire(&entry).encode_to_vec());
            if index > self.last()
                && let Payload::Normal(command) = &entry.payload
            {
                leases.applied(command.message.change.as_ref(), now)?;
            }
            let (known, other) = *self.committed.entry(index).or_insert((digest, id));
            if known != digest {
                return Err(format!("members {other} and {id} applied different entries at index {index}"));
            }
        }
        Ok(())
    }

    /// How many terms had a leader.
    pub fn terms(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// The last index that anybody applied.
    pub fn last(&self) -> u64 {
        let committed = self.committed.last_key_value().map_or(0, |(index, _)| *index);
        committed.max(self.states.last_key_value().map_or(0, |(index, _)| *index))
    }

    /// At the end: every acknowledged change is in this state, unless it is compacted.
    pub fn whole(history: &History, state: &State) -> Outcome {
        let acknowledged = history.acknowledged.range(state.compacted + 1..);
        let changes =
            acknowledged.flat_map(|(revision, changes)| (0..).zip(changes).map(move |change| (revision, change)));
        for (revision, (sub, change)) in changes {
            let found = state.value(Revision { main: *revision, sub });
            let found = found.map_err(|error| error.to_string())?;
            if found.as_ref().is_none_or(|kv| kv.key != change.key || kv.value != change.value) {
                return Err(format!("the acknowledged change of revision {revision} is lost: there is {found:?}"));
            }
        }
        Ok(())
    }
}
