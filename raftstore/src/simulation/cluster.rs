//! A run: members, time, chance, and what befalls them; then everything is healed and must come to rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keelson_wire::raft::Node;
use keelson_wire::raft::change_members_request::Change;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, IteratorRandom as _, SliceRandom as _};
use rand::{Rng as _, SeedableRng as _};

use super::carrier::url;
use super::clients::put;
use super::evidence::Evidence;
use super::member::{Disk, Process, Surroundings};
use super::net::{FAIR, Id, Net, Weather};
use super::runtime::{arm, disarm, plant, seed_chance, set_current};
use crate::failpoints::{Bug, Point};
use crate::raft::Peer;

/// After healing all must be well within this simulated time.
const REST_MILLIS: u64 = 60_000;
/// No more members than this, with learners.
const MAX_MEMBERS: usize = 7;
const MIN_VOTERS: usize = 3;

/// Where the power of a member may fail.
const POINTS: [Point; 11] = [
    Point::BeforeAppend,
    Point::BeforeSync,
    Point::AfterSync,
    Point::BeforeApply,
    Point::AfterApply,
    Point::BeforeVote,
    Point::AfterVote,
    Point::BeforeCheckpoint,
    Point::AfterCheckpoint,
    Point::BeforePurge,
    Point::AfterPurge,
];

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
    pub snapshots: u64,
    pub crashes: u64,
    pub changes: u64,
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

struct Member {
    disk: Disk,
    founder: bool,
    process: Option<Process>,
    /// It is started again then.
    down_until: u64,
    /// It is stopped until then.
    stopped: Option<(u64, u64)>,
    removed: bool,
}

struct Cluster {
    plan: Plan,
    random: StdRng,
    surroundings: Surroundings,
    members: BTreeMap<Id, Member>,
    evidence: Evidence,
    next_id: Id,
    /// Of changes of the membership: members that are gone for certain.
    removed: Arc<Mutex<Vec<Id>>>,
    report: Report,
}

type Outcome = Result<(), String>;

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

fn peer(id: Id) -> Peer {
    Peer { name: format!("member-{id}"), urls: vec![url(id)] }
}

impl Cluster {
    fn new(plan: Plan) -> Self {
        let mut random = StdRng::seed_from_u64(plan.seed);
        let surroundings = Surroundings {
            net: Net::new(random.random(), plan.loud),
            history: Arc::default(),
            clients_ended: Arc::new(AtomicBool::new(false)),
            judge_votes: plan.judge_votes,
        };
        let mut cluster = Self {
            plan,
            random,
            surroundings,
            members: BTreeMap::new(),
            evidence: Evidence::default(),
            next_id: plan.members + 1,
            removed: Arc::default(),
            report: Report::default(),
        };
        (1..=plan.members).for_each(|id| cluster.add(id, true));
        cluster
    }

    fn net(&self) -> &Net {
        &self.surroundings.net
    }

    fn add(&mut self, id: Id, founder: bool) {
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
    fn step(&mut self) -> Outcome {
        self.net().tick();
        let now = self.net().now();
        let mut turns: Vec<Id> = self.members.keys().copied().collect();
        turns.shuffle(&mut self.random);
        for id in turns {
            self.turn(id, now)?;
        }
        let removed = std::mem::take(&mut *self.removed.lock());
        for id in removed {
            self.net().say(&format!("member {id} is removed"));
            self.report.changes += 1;
            self.stop(id, false, u64::MAX);
            if let Some(member) = self.members.get_mut(&id) {
                member.removed = true;
            }
        }
        match self.surroundings.history.lock().violation.take() {
            Some(what) => Err(what),
            None => Ok(()),
        }
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
        set_current(id);
        process.run(1);
        if member.disk.is_off() {
            self.net().say(&format!("the power of member {id} failed at a write"));
            let down = self.random.random_range(1..3_000);
            self.stop(id, true, now + down);
            return Ok(());
        }
        if let Some(cause) = process.progress.lock().failure.take() {
            return Err(format!("member {id} does not start: {cause}"));
        }
        match process.requests() {
            Some(requests) => process.look(&mut self.evidence, requests.consensus()),
            None => Ok(()),
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
    fn stop(&mut self, id: Id, power: bool, down_until: u64) {
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

    fn running(&self) -> Vec<Id> {
        let running = self.members.iter().filter(|(_, member)| member.process.is_some());
        running.map(|(id, _)| *id).collect()
    }

    fn leader(&self) -> Option<Id> {
        self.members
            .iter()
            .filter_map(|(id, member)| {
                let leadership = member.process.as_ref()?.requests()?.consensus().leadership();
                leadership.is_leader.then_some((leadership.term, *id))
            })
            .max()
            .map(|(_, id)| id)
    }

    fn fault(&mut self) {
        let now = self.net().now();
        let running = self.running();
        let one = running.choose(&mut self.random).copied();
        if self.plan.power_cuts_only {
            self.members.values().for_each(|member| member.disk.set_slowness(300));
            if self.random.random_bool(0.5) {
                running.into_iter().for_each(|id| self.stop(id, true, now + 1));
            }
            return;
        }
        match self.random.random_range(0..100) {
            0..18 => {
                // Often the leader: it has most to lose.
                let leader = self.leader().filter(|_| self.random.random_bool(0.5));
                let power = self.random.random_bool(0.7);
                let down = now + self.random.random_range(1..2_500);
                if let Some(id) = leader.or(one) {
                    self.stop(id, power, down);
                }
            }
            18..23 => {
                let power = self.random.random_bool(0.7);
                for id in running {
                    let down = now + self.random.random_range(1..1_500);
                    self.stop(id, power, down);
                }
            }
            23..32 => {
                let steps = self.random.random_range(0..12);
                if let Some(member) = one.and_then(|id| self.members.get(&id)) {
                    member.disk.fail_after(steps);
                }
            }
            32..38 => {
                let Some(point) = POINTS.choose(&mut self.random).copied() else { return };
                if let Some((id, member)) = one.and_then(|id| Some((id, self.members.get(&id)?))) {
                    let (net, disk) = (self.net().clone(), member.disk.clone());
                    arm(id, point, move || {
                        net.say(&format!("member {id} reached {point:?}"));
                        net.darken(id);
                        disk.fail_after(0);
                    });
                }
            }
            38..50 => self.cut(),
            50..60 => {
                self.net().say("no cuts");
                self.net().set_cut(BTreeSet::new());
            }
            60..64 => {
                let until = now + self.random.random_range(20..3_000);
                if let Some(id) = one {
                    self.net().say(&format!("member {id} is stopped until {until}"));
                    if let Some(member) = self.members.get_mut(&id) {
                        member.stopped.get_or_insert((now, until));
                    }
                }
            }
            64..67 => {
                let millis = self.random.random_range(10..5_000);
                if let Some(id) = one {
                    self.net().say(&format!("the clock of member {id} jumps by {millis} ms"));
                    if let Some(process) = self.members.get_mut(&id).and_then(|member| member.process.as_mut()) {
                        process.jump(millis);
                    }
                }
            }
            67..74 => {
                let slow = self.random.random_range(1..80);
                let weather = Weather {
                    delay: (1, slow),
                    loss: if self.random.random_bool(0.5) { 0.02 } else { 0.0 },
                    breaks: if self.random.random_bool(0.3) { 0.005 } else { 0.0 },
                    repeats: if self.random.random_bool(0.7) { 0.2 } else { 0.0 },
                };
                self.net().say(&format!("{weather:?}"));
                self.net().set_weather(weather);
            }
            74..77 => {
                let millis = [1, 5, 50, 300].choose(&mut self.random).copied().unwrap_or(1);
                if let Some(member) = one.and_then(|id| self.members.get(&id)) {
                    member.disk.set_slowness(millis);
                }
            }
            77..86 => self.checkpoint(one),
            86..89 => self.move_leader(),
            _ => self.change_members(),
        }
    }

    fn cut(&mut self) {
        let all: Vec<Id> = self.members.keys().copied().collect();
        let half = self.random.random_range(1..=all.len() / 2);
        let few: BTreeSet<Id> = all.iter().copied().choose_multiple(&mut self.random, half).into_iter().collect();
        let (out, back) =
            *[(true, true), (true, false), (false, true)].choose(&mut self.random).unwrap_or(&(true, true));
        let mut cut = BTreeSet::new();
        for from in &all {
            for to in &all {
                if (few.contains(from) && !few.contains(to) && out) || (!few.contains(from) && few.contains(to) && back)
                {
                    cut.insert((*from, *to));
                }
            }
        }
        self.net().say(&format!("cut off: {few:?}, outward {out}, inward {back}"));
        self.net().set_cut(cut);
    }

    fn checkpoint(&mut self, id: Option<Id>) {
        let Some(process) = id.and_then(|id| self.members.get(&id)?.process.as_ref()) else { return };
        let Some(requests) = process.requests() else { return };
        self.net().say(&format!("member {id:?} makes a checkpoint"));
        process.spawn(async move {
            // A member that cannot go on is found by its failure.
            let _ = requests.consensus().checkpoint().await;
        });
    }

    fn voters_and_learners(&self, of: Id) -> (Vec<Id>, Vec<Id>) {
        let requests = self.members.get(&of).and_then(|member| member.process.as_ref()?.requests());
        let members = requests.map(|requests| requests.consensus().members()).unwrap_or_default();
        let of = |learners: bool| members.iter().filter(|member| member.2 == learners).map(|member| member.0).collect();
        (of(false), of(true))
    }

    fn move_leader(&mut self) {
        let Some(leader) = self.leader() else { return };
        let (voters, _) = self.voters_and_learners(leader);
        let Some(to) = voters.into_iter().choose(&mut self.random) else { return };
        self.ask(leader, Change::MoveLeader(to), None);
    }

    fn change_members(&mut self) {
        let Some(leader) = self.leader() else { return };
        let (voters, learners) = self.voters_and_learners(leader);
        if let Some(learner) = learners.iter().copied().choose(&mut self.random)
            && self.random.random_bool(0.8)
        {
            return self.ask(leader, Change::Promote(learner), None);
        }
        if voters.len() > MIN_VOTERS && self.random.random_bool(0.6) {
            let Some(gone) = voters.into_iter().choose(&mut self.random) else { return };
            return self.ask(leader, Change::Remove(gone), Some(gone));
        }
        let present = self.members.values().filter(|member| !member.removed).count();
        if present < MAX_MEMBERS {
            let id = self.next_id;
            self.next_id += 1;
            self.add(id, false);
            let Peer { name, urls } = peer(id);
            self.ask(leader, Change::Add(Node { id, name, peer_urls: urls }), None);
        }
    }

    fn ask(&self, leader: Id, change: Change, removes: Option<Id>) {
        let Some(process) = self.members.get(&leader).and_then(|member| member.process.as_ref()) else { return };
        let Some(requests) = process.requests() else { return };
        self.net().say(&format!("member {leader} is asked for {change:?}"));
        let (net, removed) = (self.net().clone(), self.removed.clone());
        process.spawn(async move {
            let outcome = requests.consensus().change_members(change.clone(), false).await;
            let outcome = outcome.map_err(|status| status.message().to_owned());
            net.say(&format!("{change:?}: {outcome:?}"));
            if outcome.is_ok() {
                removed.lock().extend(removes);
            }
        });
    }

    fn heal(&mut self) {
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

    /// Writes by every voter are taken, and then all members are the same.
    fn rest(&mut self) -> Outcome {
        let healed = self.net().now();
        let mut asked = BTreeSet::new();
        let mut membership = (Vec::new(), Vec::new());
        let answered: Arc<Mutex<BTreeSet<Id>>> = Arc::default();
        loop {
            self.step()?;
            let spent = self.net().now() - healed;
            if spent > REST_MILLIS {
                let state: Vec<String> = self.members.iter().map(|(id, member)| describe(*id, member)).collect();
                let (state, answered) = (state.join("\n"), answered.lock());
                return Err(format!(
                    "no rest {REST_MILLIS} ms after the healing: voters and learners {membership:?}, took writes \
                     {answered:?}\n{state}"
                ));
            }
            let Some(leader) = self.leader() else { continue };
            let (voters, learners) = self.voters_and_learners(leader);
            membership = (voters.clone(), learners.clone());
            for voter in &voters {
                let Some(process) = self.members.get(voter).and_then(|member| member.process.as_ref()) else {
                    continue;
                };
                let Some(requests) = process.requests().filter(|_| !asked.contains(voter)) else { continue };
                asked.insert(*voter);
                let (history, answered, id) = (self.surroundings.history.clone(), answered.clone(), *voter);
                process.spawn(async move {
                    let key = format!("probe-{id}").into_bytes();
                    while put(&requests, &history, key.clone(), b"well".to_vec()).await.is_err() {}
                    answered.lock().insert(id);
                });
            }
            if voters.iter().all(|voter| answered.lock().contains(voter))
                && self.is_converged(voters.iter().chain(&learners))
            {
                self.report.rest_millis = spent;
                return self.judge(leader);
            }
        }
    }

    fn is_converged<'a>(&self, members: impl Iterator<Item = &'a Id>) -> bool {
        let mut applied = members.map(|id| {
            let requests = self.members.get(id).and_then(|member| member.process.as_ref()?.requests());
            requests.map(|requests| requests.consensus().machine().applied_index())
        });
        let last = Some(self.evidence.last());
        applied.all(|applied| applied == last)
    }

    fn judge(&mut self, leader: Id) -> Outcome {
        let requests = self.members.get(&leader).and_then(|member| member.process.as_ref()?.requests());
        let state = requests.ok_or("the leader has gone")?.consensus().machine().state();
        let history = self.surroundings.history.lock();
        Evidence::whole(&history, &state)?;
        self.report.acknowledged = history.acknowledged.len() as u64;
        (self.report.reads, self.report.unknown) = (history.reads, history.unknown);
        (self.report.terms, self.report.snapshots) = (self.evidence.terms, self.evidence.snapshots);
        self.report.last_index = self.evidence.last();
        Ok(())
    }
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
