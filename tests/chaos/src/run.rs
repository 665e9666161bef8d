//! A run: a cluster, and round after round of load, faults, healing and judgement.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clients::{Client, Compactor, Generator, Habit, Load, Pulse, Watcher, all_keys};
use crate::cluster::{Cluster, Operator};
use crate::faults::{Executor, Monitor, schedule};
use crate::history::{Clock, Outcome, Recorder, Revision, Span, Watching};
use crate::judge::{Beginning, Evidence, Kind, Violation, judge};
use crate::options::Options;
use crate::plan::Plan;
use crate::summary::Summary;
use crate::{Error, Result};

/// Watchers get this long to reach the end when all is whole again.
const WATCHERS: Duration = Duration::from_secs(30);
/// How often members may kill themselves while one thing is asked of them, when all were whole again.
const LATE_DEATHS: usize = 5;

pub struct Run {
    plan: Plan,
    executor: Executor,
    monitor: Monitor,
    pulse: Arc<Pulse>,
    clock: Arc<Clock>,
    urls: Arc<Vec<String>>,
    dice: StdRng,
    /// Those of the clients, then those of one reader for each member.
    generators: Vec<Generator>,
    beginning: Beginning,
    asked: Arc<AtomicI64>,
    followers: Vec<JoinHandle<()>>,
    summary: Summary,
}

/// The tasks of one round.
struct Actors {
    clients: Vec<JoinHandle<Generator>>,
    watchers: Vec<JoinHandle<Watching>>,
    compactor: JoinHandle<()>,
    recorder: Recorder,
    stop: watch::Sender<bool>,
    goal: watch::Sender<Option<Revision>>,
}

fn ended<T>(joined: std::result::Result<T, tokio::task::JoinError>) -> Result<T> {
    joined.map_err(|error| Error::tried("run", "a client", error))
}

/// Runs to the end of the plan, or to the first round with something wrong in it.
pub async fn run(options: &Options, plan: Plan, directory: &Path) -> Result<Summary> {
    let cluster = Cluster::start(plan.shape(options)?, directory)?;
    let urls = Arc::new(cluster.client_urls());
    let monitor = Monitor::new(urls.clone());
    let pulse = Arc::new(Pulse::default());
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let mut generators: Vec<Generator> =
        (0..plan.clients).map(|number| Generator::new(number, StdRng::from_rng(&mut dice))).collect();
    let readers = plan.clients..plan.clients + plan.members as u32;
    generators.extend(readers.map(|number| Generator::reader(number, StdRng::from_rng(&mut dice))));
    let followers = (0..urls.len()).map(|place| tokio::spawn(monitor.clone().follow(place))).collect();
    let mut run = Run {
        executor: Executor::new(cluster, monitor.clone(), pulse.clone(), options.verbose),
        summary: Summary::new(plan.seed),
        plan,
        monitor,
        pulse,
        clock: Arc::default(),
        urls,
        dice,
        generators,
        beginning: Beginning::default(),
        asked: Arc::default(),
        followers,
    };
    let outcome = run.rounds().await;
    run.followers.iter().for_each(JoinHandle::abort);
    let Run { executor, monitor, pulse, mut summary, .. } = run;
    summary.violations.extend(executor.violations);
    summary.violations.extend(monitor.violations());
    summary.leader_changes = monitor.changes();
    summary.failovers = pulse.failovers();
    summary.longest_silence = pulse.longest();
    match outcome {
        // A store that does not come back is a finding, not a failure of the suite.
        Err(error) if summary.violations.is_empty() => Err(error),
        _ => Ok(summary),
    }
}

impl Run {
    async fn rounds(&mut self) -> Result<()> {
        self.summary.healed(self.executor.heal().await?);
        self.beginning.state.revision = self.revision().await?;
        let mut left = self.plan.length;
        let is_good = |run: &Self| run.summary.violations.is_empty() && run.monitor.violations().is_empty();
        while !left.is_zero() && is_good(self) {
            let length = left.min(self.plan.round);
            left -= length;
            self.round(length).await?;
        }
        Ok(())
    }

    async fn revision(&mut self) -> Result<Revision> {
        let mut deaths = 0;
        loop {
            let answer = async { Operator::of(&self.urls[0]).await?.revision().await };
            match answer.await {
                Ok(revision) => return Ok(revision),
                Err(error) => self.heal_again(error, &mut deaths).await?,
            }
        }
    }

    async fn round(&mut self, length: Duration) -> Result<()> {
        let seed = self.dice.random();
        let steps = schedule(seed, &self.plan.faults, length);
        let actors = self.act();
        self.executor.run(&steps, length).await?;
        let _ = actors.stop.send(true);
        for client in actors.clients {
            self.generators.push(ended(client.await)?);
        }
        ended(actors.compactor.await)?;
        self.pulse.pause();
        self.summary.healed(self.executor.heal().await?);
        if !self.monitor.violations().is_empty() {
            // Watches of a store in which votes were forgotten may wait for what never comes.
            return Ok(());
        }
        let end = self.revision().await?;
        let _ = actors.goal.send(Some(end));
        let mut watchings = Vec::new();
        for watcher in actors.watchers {
            watchings.push(ended(watcher.await)?);
        }
        let mut deaths = 0;
        let hashes = loop {
            match self.hashes(end).await {
                Ok(hashes) => break hashes,
                Err(error) => self.heal_again(error, &mut deaths).await?,
            }
        };
        self.compare(end, &hashes);
        let operations = actors.recorder.take();
        self.summary.count(&operations, &watchings);
        let compacted = self.asked.load(Ordering::Acquire);
        let beginning = std::mem::take(&mut self.beginning);
        let evidence = Evidence { beginning, operations, watchings, end, compacted };
        let judged = tokio::task::spawn_blocking(move || judge(&evidence)).await;
        let verdict = judged.map_err(|error| Error::tried("judge", "a round", error))?;
        self.summary.undecided += verdict.undecided;
        self.summary.violations.extend(verdict.violations);
        self.summary.rounds += 1;
        self.beginning = verdict.next;
        println!("{}", self.summary.line(self.clock.since_start()));
        Ok(())
    }

    /// Starts everybody who asks and watches.
    fn act(&mut self) -> Actors {
        let recorder = Recorder::new(self.clock.clone());
        let (stop, stopped) = watch::channel(false);
        let (goal, wanted) = watch::channel(None);
        let load = Load {
            recorder: recorder.clone(),
            urls: self.urls.clone(),
            pulse: self.pulse.clone(),
            interval: Duration::from_secs(1) * self.generators.len() as u32 / self.plan.rate,
            stop: stopped,
        };
        let generators = std::mem::take(&mut self.generators);
        let clients = self.plan.clients as usize;
        let clients = generators.into_iter().enumerate().map(|(number, generator)| {
            let stays_with = number.checked_sub(clients);
            let client = Client { number: number as u32, stays_with, generator, load: load.clone() };
            tokio::spawn(client.run())
        });
        let clients = clients.collect();
        let base = self.beginning.state.revision;
        let audited = Arc::new(AtomicI64::new(base));
        let table = [
            ("auditor", Habit::Steady, all_keys()),
            ("steady", Habit::Steady, all_keys()),
            ("fickle", Habit::Fickle, all_keys()),
            ("fickle too", Habit::Fickle, all_keys()),
            ("fickle of a half", Habit::Fickle, Span::Range("k/03".to_owned(), "k/08".to_owned())),
            ("fickle of one", Habit::Fickle, Span::One("k/05".to_owned())),
            ("live", Habit::Live, all_keys()),
        ];
        let mut watchers = Vec::new();
        for (place, (name, habit, span)) in table.into_iter().enumerate() {
            let is_auditor = place == 0;
            let watcher = Watcher {
                name: name.to_owned(),
                number: 1_000 + place as u32,
                habit,
                span,
                load: load.clone(),
                dice: StdRng::from_rng(&mut self.dice),
                start: is_auditor.then_some(base + 1),
                goal: wanted.clone(),
                reached: if is_auditor { audited.clone() } else { Arc::default() },
                patience: WATCHERS,
            };
            watchers.push(tokio::spawn(watcher.run()));
        }
        let compactor = Compactor {
            load: load.clone(),
            dice: StdRng::from_rng(&mut self.dice),
            audited,
            asked: self.asked.clone(),
        };
        Actors { clients, watchers, compactor: tokio::spawn(compactor.run()), recorder, stop, goal }
    }

    /// Members that kill themselves at chosen points may do so when all have come back, too: what was compacted goes away
    /// behind the last fault.
    async fn heal_again(&mut self, error: Error, deaths: &mut usize) -> Result<()> {
        if !self.executor.may_die() || *deaths == LATE_DEATHS {
            return Err(error);
        }
        *deaths += 1;
        self.summary.healed(self.executor.heal().await?);
        Ok(())
    }

    /// Each member's hash at this revision, and what it is of.
    async fn hashes(&self, end: Revision) -> Result<Vec<(u32, Revision)>> {
        let mut hashes = Vec::new();
        for url in self.urls.iter() {
            let operator = Operator::of(url).await?;
            operator.revision().await?;
            hashes.push(operator.hash(end).await?);
        }
        Ok(hashes)
    }

    /// All members hold the same at one revision.
    fn compare(&mut self, end: Revision, hashes: &[(u32, Revision)]) {
        // Hashes of histories that are compacted differently differ. The compactor has stopped, but a compaction may
        // still come through whose answer was lost.
        let comparable = hashes.windows(2).all(|pair| pair[0].1 == pair[1].1);
        if comparable && hashes.windows(2).any(|pair| pair[0].0 != pair[1].0) {
            let text = format!("hashes at revision {end}: {hashes:x?}");
            self.summary.violations.push(Violation::new(Kind::Diverged, text));
        }
    }
}

/// Of operations, how many were answered, refused, and never answered.
pub fn tally(operations: &[crate::history::Operation]) -> (usize, usize, usize) {
    let count = |is_it: fn(&Outcome) -> bool| operations.iter().filter(|operation| is_it(&operation.outcome)).count();
    (
        count(|outcome| matches!(outcome, Outcome::Answered { .. })),
        count(|outcome| matches!(outcome, Outcome::Refused { .. })),
        count(|outcome| matches!(outcome, Outcome::Open)),
    )
}
