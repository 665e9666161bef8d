//! What a run came to, for people.

use std::fmt;
use std::time::Duration;

use crate::history::{Operation, Watching};
use crate::judge::Violation;
use crate::run::tally;

/// Broken promises that are printed.
const MAX_PRINTED: usize = 20;

#[derive(Debug, Default)]
pub struct Summary {
    pub seed: u64,
    pub rounds: usize,
    pub answered: usize,
    pub refused: usize,
    pub open: usize,
    pub sessions: usize,
    pub events: usize,
    pub leader_changes: usize,
    pub failovers: Vec<Duration>,
    pub longest_silence: Duration,
    pub longest_healing: Duration,
    pub undecided: usize,
    pub violations: Vec<Violation>,
}

impl Summary {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn count(&mut self, operations: &[Operation], watchings: &[Watching]) {
        let (answered, refused, open) = tally(operations);
        self.answered += answered;
        self.refused += refused;
        self.open += open;
        self.sessions += watchings.iter().map(|watching| watching.sessions.len()).sum::<usize>();
        let sessions = watchings.iter().flat_map(|watching| &watching.sessions);
        self.events += sessions.map(|session| session.sightings().count()).sum::<usize>();
    }

    pub fn healed(&mut self, after: Duration) {
        self.longest_healing = self.longest_healing.max(after);
    }

    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// One line of progress.
    pub fn line(&self, since_start: Duration) -> String {
        format!(
            "{:4} s  round {}: {} answered, {} refused, {} open; {} watch sessions, {} events; {} wrong",
            since_start.as_secs(),
            self.rounds,
            self.answered,
            self.refused,
            self.open,
            self.sessions,
            self.events,
            self.violations.len()
        )
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |duration: &Duration| format!("{:.2} s", duration.as_secs_f64());
        writeln!(formatter, "seed              {}", self.seed)?;
        let (answered, refused, open) = (self.answered, self.refused, self.open);
        writeln!(formatter, "operations        {answered} answered, {refused} refused, {open} never answered")?;
        writeln!(formatter, "watches           {} sessions, {} events", self.sessions, self.events)?;
        writeln!(formatter, "leader changes    {}", self.leader_changes)?;
        if !self.failovers.is_empty() {
            let mut sorted = self.failovers.clone();
            sorted.sort();
            let median = seconds(&sorted[sorted.len() / 2]);
            let longest = sorted.last().map(seconds).unwrap_or_default();
            writeln!(
                formatter,
                "failover          {} leaders killed: median {median}, longest {longest}",
                sorted.len()
            )?;
        }
        writeln!(formatter, "longest silence   {} without an acknowledged write", seconds(&self.longest_silence))?;
        writeln!(formatter, "longest healing   {}", seconds(&self.longest_healing))?;
        if self.undecided > 0 {
            writeln!(formatter, "undecided         {} keys were too much for the search", self.undecided)?;
        }
        for violation in self.violations.iter().take(MAX_PRINTED) {
            writeln!(formatter, "WRONG  {violation}")?;
        }
        if self.violations.len() > MAX_PRINTED {
            writeln!(formatter, "and {} more", self.violations.len() - MAX_PRINTED)?;
        }
        write!(formatter, "verdict           {}", if self.is_good() { "every promise was kept" } else { "WRONG" })
    }
}
