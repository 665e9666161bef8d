//! Carries out the plan, and undoes all of it at the end of a round.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::monitor::Monitor;
use super::schedule::{Action, Cut, Fault, Step, Target};
use crate::clients::Pulse;
use crate::cluster::{Cluster, Operator, Process};
use crate::judge::{Kind, Violation};
use crate::{Error, Result};

/// The store must be whole again within this time after all faults are gone. Far more than it takes: what is measured
/// is told in the summary.
const HEALING: Duration = Duration::from_secs(60);
/// A store in which votes were forgotten may never be whole again, and need not: what is looked for is found.
const HEALING_OF_A_BROKEN_ONE: Duration = Duration::from_secs(5);
/// Replacing a member is given up after this time; the round's end goes on with it.
const REPLACING: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);
/// A member whose disk was full may still end of it so long after there is room again.
const ENDING: Duration = Duration::from_secs(5);

pub struct Executor {
    pub cluster: Cluster,
    pub monitor: Monitor,
    pub pulse: Arc<Pulse>,
    /// Prints what is done.
    pub verbose: bool,
    /// What is wrong that no history shows.
    pub violations: Vec<Violation>,
    /// A member that was wiped and is not a voter again.
    replacing: Option<usize>,
    /// Members that need not run: they were killed, or their disk is full.
    excused: Vec<usize>,
    /// Members that may still end of a disk that was full, and until when.
    ending: Vec<(usize, Instant)>,
    started: Instant,
}

/// What a step has to undo.
#[derive(Clone, Debug)]
enum Undo {
    Nothing,
    Start(Vec<usize>),
    Resume(usize),
    Mend(Vec<(usize, usize)>),
    Free(usize),
}

impl Undo {
    /// Members that the fault keeps from running.
    fn places(&self) -> Vec<usize> {
        match self {
            Self::Start(places) => places.clone(),
            Self::Free(place) => vec![*place],
            Self::Nothing | Self::Resume(_) | Self::Mend(_) => Vec::new(),
        }
    }
}

impl Executor {
    pub fn new(cluster: Cluster, monitor: Monitor, pulse: Arc<Pulse>, verbose: bool) -> Self {
        let (violations, replacing, started) = (Vec::new(), None, Instant::now());
        let (excused, ending) = (Vec::new(), Vec::new());
        Self { cluster, monitor, pulse, verbose, violations, replacing, excused, ending, started }
    }

    fn say(&self, text: &str) {
        if self.verbose {
            println!("{:9.3}  {text}", self.started.elapsed().as_secs_f64());
        }
    }

    /// Carries out the steps, then waits until the round's length is over.
    pub async fn run(&mut self, steps: &[Step], length: Duration) -> Result<()> {
        let begun = Instant::now();
        let mut undo = Vec::new();
        for step in steps {
            self.wait(begun + step.at).await?;
            match step.action {
                Action::Begin(fault) => {
                    let begun = self.begin(fault).await?;
                    self.excused.extend(begun.places());
                    undo.push(begun);
                }
                Action::End(number) => {
                    let ended = undo[number].clone();
                    for place in ended.places() {
                        // Two faults may hold one member down.
                        if let Some(found) = self.excused.iter().position(|excused| *excused == place) {
                            self.excused.swap_remove(found);
                        }
                    }
                    self.undo(ended).await?;
                }
            }
        }
        self.wait(begun + length).await?;
        self.excused.clear();
        Ok(())
    }

    /// Whether members end by themselves now and then.
    pub fn may_die(&self) -> bool {
        self.cluster.may_die()
    }

    /// Until then, members that fell by themselves are found.
    async fn wait(&mut self, until: Instant) -> Result<()> {
        loop {
            let turn = until.min(Instant::now() + PAUSE);
            tokio::time::sleep_until(turn).await;
            for place in 0..self.cluster.members.len() {
                let is_excused = self.excused.contains(&place) || self.replacing == Some(place);
                if is_excused || self.cluster.members[place].process() != Process::Dead {
                    continue;
                }
                self.ending.retain(|(_, until)| *until > turn);
                let is_ending = self.ending.iter().any(|(ending, _)| *ending == place);
                self.ending.retain(|(ending, _)| *ending != place);
                if !is_ending && !self.cluster.may_die() {
                    let text = format!("{} ended by itself: see its log", self.cluster.members[place].name);
                    self.violations.push(Violation::new(Kind::Died, text));
                }
                self.pulse.forget();
                self.start(place)?;
            }
            if turn == until {
                return Ok(());
            }
        }
    }

    fn place(&self, target: Target) -> usize {
        let count = self.cluster.members.len();
        let leader = self.monitor.newest().place.unwrap_or(0);
        match target {
            Target::Leader => leader,
            Target::Follower(number) => (leader + 1 + number % (count - 1).max(1)) % count,
        }
    }

    async fn begin(&mut self, fault: Fault) -> Result<Undo> {
        let leadership = self.monitor.newest();
        let others_run = |cluster: &mut Cluster, except: usize| {
            let running = |member: &mut crate::cluster::Member| member.process() == Process::Running;
            cluster.members.iter_mut().enumerate().all(|(place, member)| place == except || running(member))
        };
        Ok(match fault {
            Fault::Kill(target) => {
                let place = self.place(target);
                self.say(&format!("kill {} ({target:?})", self.cluster.members[place].name));
                let alone = others_run(&mut self.cluster, place) && self.cluster.network.is_whole();
                self.cluster.members[place].kill();
                if leadership.place == Some(place) && alone {
                    self.pulse.leader_killed(leadership.term);
                }
                Undo::Start(vec![place])
            }
            Fault::KillAll => {
                self.say("kill all");
                self.pulse.forget();
                self.cluster.members.iter_mut().for_each(crate::cluster::Member::kill);
                Undo::Start((0..self.cluster.members.len()).collect())
            }
            Fault::Stop(target) => {
                let place = self.place(target);
                self.say(&format!("stop {} ({target:?})", self.cluster.members[place].name));
                self.pulse.forget();
                self.cluster.members[place].stop()?;
                Undo::Resume(place)
            }
            Fault::Partition(target, cut) => {
                let place = self.place(target);
                let cuts = cuts(place, self.cluster.members.len(), cut);
                self.say(&format!("cut {cut:?} {} ({target:?})", self.cluster.members[place].name));
                self.pulse.forget();
                self.cluster.network.cut(cuts.iter().copied())?;
                Undo::Mend(cuts)
            }
            Fault::Disk(target, fullness) => {
                let place = self.place(target);
                self.say(&format!("fill the disk of {} ({fullness:?})", self.cluster.members[place].name));
                self.pulse.forget();
                self.cluster.disks[place].fill(fullness)?;
                Undo::Free(place)
            }
            Fault::Replace(target) => {
                self.pulse.forget();
                self.replace(target).await?;
                Undo::Nothing
            }
            Fault::Move(to) => {
                let to = self.place(Target::Follower(to));
                self.say(&format!("hand leadership to {}", self.cluster.members[to].name));
                if let Err(error) = self.move_leader(to).await {
                    self.say(&format!("it was not handed on: {error}"));
                }
                Undo::Nothing
            }
        })
    }

    async fn undo(&mut self, undo: Undo) -> Result<()> {
        match undo {
            Undo::Nothing => {}
            Undo::Start(places) => {
                for place in places {
                    self.start(place)?;
                }
            }
            Undo::Resume(place) => {
                self.say(&format!("resume {}", self.cluster.members[place].name));
                self.cluster.members[place].resume()?;
            }
            Undo::Mend(cuts) => {
                self.say("mend the cut");
                self.cluster.network.mend(cuts)?;
            }
            Undo::Free(place) => {
                self.say(&format!("free the disk of {}", self.cluster.members[place].name));
                self.free(place)?;
                // Members that met the end of their disks may have ended.
                self.start(place)?;
                self.disarm().await;
            }
        }
        Ok(())
    }

    fn free(&mut self, place: usize) -> Result<()> {
        if self.cluster.disks[place].free()? {
            self.ending.push((place, Instant::now() + ENDING));
        }
        Ok(())
    }

    fn start(&mut self, place: usize) -> Result<()> {
        if self.cluster.members[place].process() == Process::Dead {
            self.say(&format!("start {}", self.cluster.members[place].name));
            self.cluster.launch(place)?;
        }
        Ok(())
    }

    /// All members but the one that is being replaced.
    fn start_who_is_in_the_cluster(&mut self) -> Result<()> {
        for place in 0..self.cluster.members.len() {
            if self.replacing != Some(place) {
                self.start(place)?;
            }
        }
        Ok(())
    }

    /// Alarms stay until an operator takes them back.
    async fn disarm(&self) {
        for url in self.cluster.client_urls() {
            if let Ok(operator) = Operator::of(&url).await
                && operator.disarm().await.is_ok()
            {
                return;
            }
        }
    }

    async fn move_leader(&self, to: usize) -> Result<()> {
        let leader = self.monitor.newest().place.ok_or_else(|| Error::new("nobody leads"))?;
        let operator = Operator::of(&self.cluster.members[leader].client_url()).await?;
        let members = operator.members().await?;
        let peer_url = self.cluster.members[to].peer_url();
        let id = members.iter().find(|member| member.peer_ur_ls.contains(&peer_url)).map(|member| member.id);
        operator.move_leader(id.ok_or_else(|| Error::new("it is no member"))?).await
    }

    /// Removes a member, wipes it, adds it as a new one and makes it a voter: what an operator does when a disk is lost.
    async fn replace(&mut self, target: Target) -> Result<()> {
        let place = match self.replacing {
            Some(place) => place,
            None => self.place(target),
        };
        self.say(&format!("replace {}", self.cluster.members[place].name));
        // Taking one away needs the others.
        self.cluster.network.mend_all()?;
        for other in 0..self.cluster.members.len() {
            self.cluster.members[other].resume()?;
            self.start(other)?;
        }
        if self.replacing.is_none() {
            self.cluster.members[place].wipe()?;
            self.replacing = Some(place);
        }
        let deadline = Instant::now() + REPLACING;
        while let Err(error) = self.replace_step(place).await {
            if Instant::now() > deadline {
                self.say(&format!("not replaced yet: {error}"));
                return Ok(());
            }
            // Failpoints end members meanwhile, and it takes a quorum.
            self.start_who_is_in_the_cluster()?;
            tokio::time::sleep(PAUSE).await;
        }
        self.replacing = None;
        self.say(&format!("{} is a voter again", self.cluster.members[place].name));
        Ok(())
    }

    /// Looks how far the replacement is and does what comes next. Ok when there is nothing left to do.
    async fn replace_step(&mut self, place: usize) -> Result<()> {
        let peer_url = self.cluster.members[place].peer_url();
        let operator = self.any_other(place).await?;
        let members = operator.members().await?;
        let named = members.iter().find(|member| member.peer_ur_ls.contains(&peer_url));
        let runs = self.cluster.members[place].process() != Process::Dead;
        let next = |text: &str| Err(Error::new(text));
        match named {
            // Whoever is listed while the new one does not run may be the old one.
            Some(member) if !runs && !member.is_learner => {
                operator.remove(member.id).await?;
                next("removed")
            }
            None => {
                operator.add(&peer_url).await?;
                next("added")
            }
            Some(_) if !runs => {
                let all: Vec<String> = self.cluster.members.iter().map(crate::cluster::Member::as_founder).collect();
                let flags = ["--initial-cluster", &all.join(","), "--initial-cluster-state", "existing"];
                self.cluster.members[place].flags = flags.map(str::to_owned).to_vec();
                self.cluster.launch(place)?;
                next("started")
            }
            Some(member) if member.is_learner => {
                operator.promote(member.id).await?;
                next("promoted")
            }
            Some(_) => Ok(()),
        }
    }

    async fn any_other(&mut self, place: usize) -> Result<Operator> {
        let count = self.cluster.members.len();
        for other in (1..count).map(|step| (place + step) % count) {
            let url = self.cluster.members[other].client_url();
            if let Ok(operator) = Operator::of(&url).await
                && operator.revision().await.is_ok()
            {
                return Ok(operator);
            }
        }
        Err(Error::new("no other member answers"))
    }

    /// Takes back every fault and waits until every member answers reads and there is no alarm. How long that took.
    pub async fn heal(&mut self) -> Result<Duration> {
        self.say("heal");
        let begun = Instant::now();
        self.cluster.network.mend_all()?;
        for place in 0..self.cluster.members.len() {
            self.cluster.members[place].resume()?;
            self.free(place)?;
        }
        loop {
            self.start_who_is_in_the_cluster()?;
            if let Some(place) = self.replacing
                && self.replace_step(place).await.is_ok()
            {
                self.replacing = None;
            }
            self.disarm().await;
            let outcome = self.is_whole().await;
            let took = begun.elapsed();
            let is_long = took > HEALING_OF_A_BROKEN_ONE;
            if outcome.is_ok() || is_long {
                self.read_logs();
            }
            match outcome {
                Ok(()) => return Ok(took),
                Err(_) if is_long && !self.monitor.violations().is_empty() => {
                    return Err(Error::new("the store is broken"));
                }
                Err(error) if took > HEALING => {
                    let text = format!("{} s after the last fault: {error}", HEALING.as_secs());
                    self.violations.push(Violation::new(Kind::NotHealed, text));
                    return Err(Error::new("the store did not come back"));
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Who led is in the members' logs, also where nobody could be asked.
    fn read_logs(&self) {
        for member in &self.cluster.members {
            // One that never ran has none.
            if let Ok(log) = std::fs::read(member.log_file()) {
                self.monitor.hear(&String::from_utf8_lossy(&log));
            }
        }
    }

    async fn is_whole(&self) -> Result<()> {
        if self.replacing.is_some() {
            return Err(Error::new("a member is not replaced yet"));
        }
        for member in &self.cluster.members {
            let named = |error: Error| Error::new(format!("{}: {error}", member.name));
            let operator = Operator::of(&member.client_url()).await.map_err(named)?;
            operator.revision().await.map_err(named)?;
            let status = operator.status().await.map_err(named)?;
            if let Some(error) = status.errors.first() {
                return Err(named(Error::new(error.as_str())));
            }
        }
        Ok(())
    }
}

/// The directed links that a cut takes away.
fn cuts(place: usize, members: usize, cut: Cut) -> Vec<(usize, usize)> {
    let others = (0..members).filter(|other| *other != place);
    match cut {
        Cut::Around => others.flat_map(|other| [(place, other), (other, place)]).collect(),
        Cut::From => others.map(|other| (place, other)).collect(),
        Cut::To => others.map(|other| (other, place)).collect(),
        Cut::OneLink => {
            let next = (place + 1) % members;
            vec![(place, next), (next, place)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_take_away_what_they_say() {
        assert_eq!(cuts(1, 3, Cut::Around), [(1, 0), (0, 1), (1, 2), (2, 1)]);
        assert_eq!(cuts(1, 3, Cut::From), [(1, 0), (1, 2)]);
        assert_eq!(cuts(1, 3, Cut::To), [(0, 1), (2, 1)]);
        assert_eq!(cuts(2, 3, Cut::OneLink), [(2, 0), (0, 2)]);
    }
}
