//! Everything is healed, and must come to rest: writes are taken, all members are the same, all watches have seen all, and
//! leases that nobody renews have ended.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use keelson_wire::mvccpb::KeyValue;
use parking_lot::Mutex;

use super::clients::probe;
use super::cluster::{Cluster, Member, Outcome};
use super::evidence::Evidence;
use super::leases::SHORT_SECONDS;
use super::member::Process;
use super::net::{FAIR, Id};
use super::runtime::{disarm, installed};
use crate::mvcc::{KeyRange, State, Values as _};

/// After healing all must be well within this simulated time.
const REST_MILLIS: u64 = 60_000;

impl Cluster {
    pub fn heal(&mut self) {
        let now = self.net().now();
        self.net().say("healed");
        self.net().set_cut(BTreeSet::new());
        self.net().set_weather(FAIR);
        disarm();
        self.surroundings.clients_ended.store(true, Ordering::Relaxed);
        for member in self.members.values_mut() {
            member.disk.set_slowness(1);
            member.disk.steady();
            member.stopped = member.stopped.map(|(since, _)| (since, now));
            member.down_until = member.down_until.min(now);
        }
    }

    pub fn rest(&mut self) -> Outcome {
        let healed = self.net().now();
        let mut asked = BTreeSet::new();
        let answered: Arc<Mutex<BTreeSet<Id>>> = Arc::default();
        loop {
            self.step()?;
            let spent = self.net().now() - healed;
            if spent > REST_MILLIS {
                return Err(self.restlessness(&answered.lock()));
            }
            let Some(leader) = self.leader() else { continue };
            let (voters, learners) = self.voters_and_learners(leader);
            self.probe(&voters, &mut asked, &answered);
            let members: BTreeSet<Id> = voters.iter().chain(&learners).copied().collect();
            self.leave_strangers(&members);
            if voters.iter().all(|voter| answered.lock().contains(voter))
                && self.is_converged(&members)
                && self.are_up_to_date()
                && self.have_ended(leader)
            {
                self.report.rest_millis = spent;
                return self.judge(leader);
            }
        }
    }

    /// Each voter is asked for a write, once it is there.
    fn probe(&self, voters: &[Id], asked: &mut BTreeSet<Id>, answered: &Arc<Mutex<BTreeSet<Id>>>) {
        for id in voters.iter().copied() {
            let Some(process) = self.members.get(&id).and_then(|member| member.process.as_ref()) else { continue };
            let Some(requests) = process.requests().filter(|_| !asked.contains(&id)) else { continue };
            asked.insert(id);
            let (history, answered) = (self.surroundings.history.clone(), answered.clone());
            process.spawn(async move {
                let key = format!("probe-{id}").into_bytes();
                while probe(&requests, &history, key.clone()).await.is_err() {}
                answered.lock().insert(id);
            });
        }
    }

    /// Whoever watches on a machine that belongs to the cluster no more looks for another.
    fn leave_strangers(&self, members: &BTreeSet<Id>) {
        let sessions = self.stands.iter().filter_map(|stand| stand.session.as_ref());
        sessions.filter(|(on, _)| !members.contains(on)).for_each(|(_, session)| session.abort());
    }

    fn is_converged(&self, members: &BTreeSet<Id>) -> bool {
        let mut applied = members.iter().map(|id| {
            let requests = self.members.get(id).and_then(|member| member.process.as_ref()?.requests());
            requests.map(|requests| requests.consensus().machine().applied_index())
        });
        let last = Some(self.evidence.last());
        applied.all(|applied| applied == last)
    }

    fn are_up_to_date(&self) -> bool {
        self.stands.iter().all(|stand| stand.watcher.lock().is_up_to_date(&self.evidence.chronicle))
    }

    /// Nobody renews leases any more.
    fn have_ended(&self, leader: Id) -> bool {
        self.state(leader).is_some_and(|state| state.leases.values().all(|lease| lease.ttl >= SHORT_SECONDS))
    }

    fn state(&self, id: Id) -> Option<State> {
        let requests = self.members.get(&id)?.process.as_ref()?.requests()?;
        Some(requests.machine().state())
    }

    /// What is still not as it shall be.
    fn restlessness(&self, answered: &BTreeSet<Id>) -> String {
        let mut lines = vec![format!("no rest {REST_MILLIS} ms after the healing: took writes {answered:?}")];
        if let Some(leader) = self.leader() {
            let leases = self.state(leader).map(|state| state.leases);
            let (voters, learners) = self.voters_and_learners(leader);
            lines.push(format!("voters {voters:?}, learners {learners:?}, leases {leases:?}"));
        }
        lines.extend(self.members.iter().map(|(id, member)| describe(*id, member)));
        lines.push(format!("the store is at revision {}", self.evidence.chronicle.revision));
        lines.extend(self.stands.iter().map(|stand| stand.watcher.lock().position()));
        lines.join("\n")
    }

    fn judge(&mut self, leader: Id) -> Outcome {
        let state = self.state(leader).ok_or("the leader has gone")?;
        let history = self.surroundings.history.lock();
        Evidence::whole(&history, &state)?;
        self.report.is_torn = self.evidence.chronicle.is_torn || history.leases.is_torn;
        for stand in &self.stands {
            let watcher = stand.watcher.lock();
            watcher.count(&mut self.report.watched);
            if !self.evidence.chronicle.is_torn {
                watcher.watches().iter().try_for_each(|watch| watch.whole(&within(&state, &watch.range)?))?;
            }
        }
        (self.report.leases_ended, self.report.renewals) = (history.leases.ended, history.leases.renewals);
        self.report.acknowledged = history.acknowledged.len() as u64;
        (self.report.reads, self.report.unknown) = (history.reads, history.unknown);
        self.report.terms = self.evidence.terms();
        (self.report.snapshots, self.report.resumed) = (installed(), self.net().resumed());
        self.report.outlived = self.net().outlived();
        self.report.last_index = self.evidence.last();
        Ok(())
    }
}

/// What a range holds now. No key is left of a lease that has ended.
fn within(state: &State, range: &KeyRange) -> Result<BTreeMap<Bytes, KeyValue>, String> {
    let mut found = BTreeMap::new();
    for indexed in range.keys(state).iter() {
        let Some(seen) = indexed.at(state.revision) else { continue };
        let key = indexed.key();
        let kv = state.value(seen.revision).map_err(|error| error.to_string())?;
        let kv = kv.ok_or_else(|| format!("{key:?} has no value"))?;
        if kv.lease != 0 && !state.leases.contains_key(&kv.lease) {
            return Err(format!("{key:?} is there, and its lease {} is not", kv.lease));
        }
        found.insert(key.clone(), kv);
    }
    Ok(found)
}

fn describe(id: Id, member: &Member) -> String {
    let consensus = member.process.as_ref().and_then(Process::requests);
    match consensus {
        Some(requests) => {
            let consensus = requests.consensus();
            format!("{id}: applied {}, {}", consensus.machine().applied_index(), consensus.in_words())
        }
        None => format!("{id}: running {}, removed {}", member.process.is_some(), member.removed),
    }
}
