//! A run: members, time and chance. What befalls them, and how they come to rest, is beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};
use tokio::task::AbortHandle;

use super::carrier::url;
use super::evidence::Evidence;
use super::member::{Disk, Process, Surroundings};
use super::net::{Id, Net};
use super::plan::{Plan, Report, Violation};
use super::runtime::{disarm, plant, seed_chance, set_current};
use super::watchers::{self, Session, SharedWatcher};
use crate::doors::Requests;
use crate::raft::Peer;

/// A client that watches is without a stream for so long at most.
const RESUME_MILLIS: u64 = 400;

pub struct Member {
    pub disk: Disk,
    founder: bool,
    pub process: Option<Process>,
    /// It is started again then.
    pub down_until: u64,
    /// It is stopped until then.
    pub stopped: Option<(u64, u64)>,
    pub removed: bool,
}

/// A client that watches: where it is, and when it goes somewhere else.
pub struct Stand {
    pub watcher: SharedWatcher,
    pub session: Option<(Id, AbortHandle)>,
    resume_at: u64,
}

pub struct Cluster {
    pub plan: Plan,
    pub random: StdRng,
    pub surroundings: Surroundings,
    pub members: BTreeMap<Id, Member>,
    pub stands: Vec<Stand>,
    pub evidence: Evidence,
    pub next_id: Id,
    /// Of changes of the membership: members that are gone for certain.
    pub removed: Arc<Mutex<Vec<Id>>>,
    pub report: Report,
}

pub type Outcome = Result<(), String>;

pub fn run(plan: Plan) -> Result<Report, Violation> {
    seed_chance(plan.seed);
    plant(plan.bug);
    let mut cluster = Cluster::new(plan);
    let outcome = cluster.live();
    let net = cluster.surroundings.net.clone();
    let (trace, events, tail) = net.trace(|trace| (trace.hash(), trace.events, trace.tail()));
    // Before the plant is taken out: what is dropped may still act.
    cluster.members.clear();
    plant(None);
    disarm();
    match outcome {
        Ok(()) => Ok(Report { trace, events, ..cluster.report }),
        Err(what) => Err(Violation { seed: plan.seed, at: net.now(), what, trace, tail }),
    }
}

pub fn peer(id: Id) -> Peer {
    Peer { name: format!("member-{id}"), urls: vec![url(id)] }
}

impl Cluster {
    pub fn new(plan: Plan) -> Self {
        let mut random = StdRng::seed_from_u64(plan.seed);
        let surroundings = Surroundings {
            net: Net::new(random.random(), plan.loud),
            history: Arc::default(),
            clients_ended: Arc::new(AtomicBool::new(false)),
            judge_votes: plan.judge_votes,
        };
        let watchers = watchers::all(&mut random);
        let stand = |watcher| Stand { watcher, session: None, resume_at: 0 };
        let mut cluster = Self {
            plan,
            random,
            surroundings,
            members: BTreeMap::new(),
            stands: watchers.into_iter().map(stand).collect(),
            evidence: Evidence::default(),
            next_id: plan.members + 1,
            removed: Arc::default(),
            report: Report::default(),
        };
        (1..=plan.members).for_each(|id| cluster.add(id, true));
        cluster
    }

    pub fn net(&self) -> &Net {
        &self.surroundings.net
    }

    pub fn add(&mut self, id: Id, founder: bool) {
        let member = Member {
            disk: Disk::default(),
            founder,
            process: None,
            down_until: self.net().now(),
            stopped: None,
            removed: false,
        };
        self.members.insert(id, member);
    }

    fn live(&mut self) -> Outcome {
        let mut next_fault = 1_500;
        while self.net().now() < self.plan.millis {
            self.step()?;
            if self.net().now() >= next_fault {
                self.fault();
                next_fault = self.net().now() + self.random.random_range(50..1_200);
            }
        }
        self.heal();
        self.rest()
    }

    /// One millisecond for everybody, in an order of chance.
    pub fn step(&mut self) -> Outcome {
        self.net().tick();
        let now = self.net().now();
        let mut turns: Vec<Id> = self.members.keys().copied().collect();
        turns.shuffle(&mut self.random);
        for id in turns {
            self.turn(id, now)?;
            self.hear()?;
        }
        self.send_watchers(now);
        let removed = std::mem::take(&mut *self.removed.lock());
        for id in removed {
            self.net().say(&format!("member {id} is removed"));
            self.report.changes += 1;
            self.stop(id, false, u64::MAX);
            if let Some(member) = self.members.get_mut(&id) {
                member.removed = true;
            }
        }
        let violation = self.surroundings.history.lock().violation.take();
        let broken = || self.net().broken_promise().filter(|_| self.plan.judge_votes);
        violation.or_else(broken).map_or(Ok(()), Err)
    }

    fn turn(&mut self, id: Id, now: u64) -> Outcome {
        let Some(member) = self.members.get_mut(&id).filter(|member| !member.removed) else { return Ok(()) };
        let Some(process) = &mut member.process else {
            if now >= member.down_until {
                self.start(id);
            }
            return Ok(());
        };
        match member.stopped {
            Some((_, until)) if now < until => return Ok(()),
            Some((since, _)) => {
                member.stopped = None;
                process.jump(now - since);
            }
            None => {}
        }
        if self.surroundings.net.take_doom(id) {
            let (power, down) = (self.random.random_bool(0.7), self.random.random_range(1..2_000));
            self.stop(id, power, now + down);
            return Ok(());
        }
        set_current(id);
        process.run(1);
        let requests = process.requests();
        if let Some(requests) = requests.as_ref().filter(|_| member.disk.is_off()) {
            // Nobody else may have seen what it has told its watches.
            self.evidence.chronicle.look(&requests.machine().state())?;
        }
        if member.disk.is_off() {
            self.net().say(&format!("the power of member {id} failed at a write"));
            let down = self.random.random_range(1..3_000);
            self.stop(id, true, now + down);
            return Ok(());
        }
        if let Some(cause) = process.progress.lock().failure.take() {
            return Err(format!("member {id} does not start: {cause}"));
        }
        match requests {
            Some(requests) => self.look(&requests, now),
            None => Ok(()),
        }
    }

    /// Looks at a member, and then at what its clients were told.
    fn look(&mut self, requests: &Requests, now: u64) -> Outcome {
        let Surroundings { history, net, .. } = &self.surroundings;
        let terms = self.evidence.terms();
        // Nothing is waited for but memory.
        futures::executor::block_on(self.evidence.look(requests.consensus(), now, history))?;
        if self.evidence.terms() > terms {
            net.say(&format!("member {} leads: {:?}", requests.consensus().id(), requests.consensus().leadership()));
        }
        let mut history = history.lock();
        history.leases.news.drain(..).for_each(|news| net.say(&news));
        let told = std::mem::take(&mut history.told);
        told.iter().try_for_each(|told| history.leases.told(told))
    }

    /// Judges what watches were shown.
    fn hear(&mut self) -> Outcome {
        self.stands.iter().try_for_each(|stand| stand.watcher.lock().judge(&self.evidence.chronicle))
    }

    /// Clients that watch and have lost their streams go to some member that takes part.
    fn send_watchers(&mut self, now: u64) {
        for stand in &mut self.stands {
            if !stand.watcher.lock().is_free() {
                continue;
            }
            if stand.session.take().is_some() {
                stand.resume_at = now + self.random.random_range(1..=RESUME_MILLIS);
            }
            if now < stand.resume_at {
                continue;
            }
            let open = self.members.iter().filter_map(|(id, member)| {
                let requests = member.process.as_ref()?.ready()?;
                let takes_part = requests.consensus().members().iter().any(|(member, ..)| member == id);
                takes_part.then_some((*id, requests))
            });
            let open: Vec<(Id, Arc<Requests>)> = open.collect();
            let Some((id, requests)) = open.choose(&mut self.random).cloned() else { continue };
            let Surroundings { history, clients_ended, .. } = self.surroundings.clone();
            let session = Session::on(requests, stand.watcher.clone(), history, clients_ended, self.random.random());
            let process = self.members.get(&id).and_then(|member| member.process.as_ref());
            stand.session = process.and_then(|process| process.spawn(session)).map(|session| (id, session));
        }
    }

    fn start(&mut self, id: Id) {
        let founders = (1..=self.plan.members).map(|id| (id, peer(id))).collect();
        let seed = self.random.random();
        self.net().say(&format!("member {id} starts"));
        self.evidence.forget(id);
        let Some(member) = self.members.get_mut(&id) else { return };
        let founders = member.founder.then_some(founders);
        member.process = Some(Process::start(id, &member.disk, &self.surroundings, founders, seed));
    }

    /// Ends the member's process between two of its steps.
    pub fn stop(&mut self, id: Id, power: bool, down_until: u64) {
        let Some(member) = self.members.get_mut(&id) else { return };
        if member.process.is_none() {
            return;
        }
        let net = self.surroundings.net.clone();
        net.say(&format!("member {id} ends, power lost: {power}"));
        net.darken(id);
        member.process = None;
        net.close_door(id);
        member.disk.crash(power, &mut self.random);
        member.stopped = None;
        member.down_until = down_until;
        self.report.crashes += 1;
    }

    pub fn running(&self) -> Vec<Id> {
        let running = self.members.iter().filter(|(_, member)| member.process.is_some());
        running.map(|(id, _)| *id).collect()
    }

    pub fn leader(&self) -> Option<Id> {
        self.members
            .iter()
            .filter_map(|(id, member)| {
                let leadership = member.process.as_ref()?.requests()?.consensus().leadership();
                leadership.is_leader.then_some((leadership.term, *id))
            })
            .max()
            .map(|(_, id)| id)
    }
}
