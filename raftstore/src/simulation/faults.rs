//! What befalls the members of a run.

use std::collections::BTreeSet;

use keelson_wire::raft::Node;
use keelson_wire::raft::change_members_request::Change;
use rand::Rng as _;
use rand::seq::{IndexedRandom as _, IteratorRandom as _};

use super::cluster::{Cluster, peer};
use super::net::{Id, Weather};
use super::runtime::arm;
use crate::failpoints::Point;
use crate::raft::Peer;

/// No more members than this, with learners.
const MAX_MEMBERS: usize = 7;
const MIN_VOTERS: usize = 3;

/// Where the power of a member may fail.
const POINTS: [Point; 14] = [
    Point::BeforeAppend,
    Point::BeforeSync,
    Point::AfterSync,
    Point::BeforeApply,
    Point::AfterApply,
    Point::BeforeVote,
    Point::AfterVote,
    Point::BeforeCheckpoint,
    Point::AfterCheckpoint,
    Point::BeforeInstall,
    Point::AfterInstall,
    Point::DuringCompaction,
    Point::BeforePurge,
    Point::AfterPurge,
];

impl Cluster {
    pub fn fault(&mut self) {
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
                // Some are away so long that the log has gone on without them.
                let longest = if self.random.random_bool(0.3) { 7_000 } else { 2_500 };
                let down = now + self.random.random_range(1..longest);
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
                        self.surroundings.history.lock().leases.jumped(now, id, millis);
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
                    tears: 0.4,
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

    pub fn voters_and_learners(&self, of: Id) -> (Vec<Id>, Vec<Id>) {
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
}
