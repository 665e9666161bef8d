//! The plan of a round: which fault, when, for how long. Pure: the same seed makes the same plan.

use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::cluster::Fullness;

/// The kinds of faults that a run can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum FaultKind {
    /// SIGKILL, and a start some time later
    Kill,
    /// SIGKILL of all members at one moment
    KillAll,
    /// SIGSTOP, and SIGCONT some time later
    Stop,
    /// Members that do not hear each other, also in one direction only
    Partition,
    /// A member's disk is filled
    Disk,
    /// A member is removed, wiped, and added as a new one
    Replace,
    /// Leadership is handed on
    Move,
}

/// Who is meant; found out when the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Leader,
    /// One of the others, counted from the leader on.
    Follower(usize),
}

/// Which messages are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Between one member and all others.
    Around,
    /// What one member sends.
    From,
    /// What is sent to one member.
    To,
    /// Between one member and its next neighbour only.
    OneLink,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Kill(Target),
    KillAll,
    Stop(Target),
    Partition(Target, Cut),
    Disk(Target, Fullness),
    Replace(Target),
    Move(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Begin(Fault),
    /// Of the fault that the step of this number began.
    End(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Since the round's beginning.
    pub at: Duration,
    pub action: Action,
}

fn milliseconds(dice: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(dice.random_range(from..to))
}

fn target(dice: &mut StdRng) -> Target {
    if dice.random_bool(0.6) { Target::Leader } else { Target::Follower(dice.random_range(1..5)) }
}

fn fault(dice: &mut StdRng, kind: FaultKind) -> Fault {
    match kind {
        FaultKind::Kill => Fault::Kill(target(dice)),
        FaultKind::KillAll => Fault::KillAll,
        FaultKind::Stop => Fault::Stop(target(dice)),
        FaultKind::Partition => {
            let cuts = [Cut::Around, Cut::Around, Cut::From, Cut::To, Cut::OneLink];
            Fault::Partition(target(dice), *cuts.choose(dice).unwrap_or(&Cut::Around))
        }
        FaultKind::Disk => {
            let fullness = if dice.random_bool(0.5) { Fullness::Brim } else { Fullness::BelowReserve };
            Fault::Disk(target(dice), fullness)
        }
        FaultKind::Replace => Fault::Replace(target(dice)),
        FaultKind::Move => Fault::Move(dice.random_range(1..5)),
    }
}

/// The steps of a round of this length, in order. Every kind is in it if there is time for all. Some faults overlap.
pub fn schedule(seed: u64, kinds: &[FaultKind], length: Duration) -> Vec<Step> {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut steps: Vec<Step> = Vec::new();
    let mut deck: Vec<FaultKind> = Vec::new();
    let mut now = milliseconds(&mut dice, 500, 1_500);
    // Begins are told apart by their order, before ends are sorted in between.
    let mut begun = Vec::new();
    while now < length && !kinds.is_empty() {
        if deck.is_empty() {
            deck = kinds.to_vec();
        }
        let kind = deck.swap_remove(dice.random_range(0..deck.len()));
        let lasts = milliseconds(&mut dice, 300, 4_000);
        begun.push((now, now + lasts, fault(&mut dice, kind)));
        let overlaps = dice.random_bool(0.25);
        now += if overlaps { lasts / 2 } else { lasts + milliseconds(&mut dice, 300, 2_000) };
    }
    for (number, (begins, ends, fault)) in begun.into_iter().enumerate() {
        steps.push(Step { at: begins, action: Action::Begin(fault) });
        steps.push(Step { at: ends.min(length), action: Action::End(number) });
    }
    // Stable: a fault begins before it ends, also at one moment.
    steps.sort_by_key(|step| step.at);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [FaultKind; 7] = [
        FaultKind::Kill,
        FaultKind::KillAll,
        FaultKind::Stop,
        FaultKind::Partition,
        FaultKind::Disk,
        FaultKind::Replace,
        FaultKind::Move,
    ];

    #[test]
    fn a_seed_makes_one_plan_and_another_seed_another() {
        let length = Duration::from_secs(60);
        assert_eq!(schedule(7, &ALL, length), schedule(7, &ALL, length));
        assert_ne!(schedule(7, &ALL, length), schedule(8, &ALL, length));
        assert_eq!(schedule(7, &[], length), []);
    }

    #[test]
    fn what_begins_ends_within_the_round_and_every_kind_comes() {
        let length = Duration::from_secs(60);
        for seed in 0..50 {
            let steps = schedule(seed, &ALL, length);
            assert!(steps.windows(2).all(|pair| pair[0].at <= pair[1].at));
            assert!(steps.last().expect("there are steps").at <= length);
            let begun: Vec<Fault> = steps
                .iter()
                .filter_map(|step| match step.action {
                    Action::Begin(fault) => Some(fault),
                    Action::End(_) => None,
                })
                .collect();
            let mut ended: Vec<usize> = Vec::new();
            let mut seen = 0;
            for step in &steps {
                match step.action {
                    Action::Begin(_) => seen += 1,
                    Action::End(number) => {
                        assert!(number < seen, "seed {seed}: {number} ends before it begins");
                        ended.push(number);
                    }
                }
            }
            ended.sort_unstable();
            assert_eq!(ended, (0..begun.len()).collect::<Vec<_>>());
            assert!(begun.iter().any(|fault| matches!(fault, Fault::Replace(_))), "seed {seed}");
            assert!(begun.iter().any(|fault| matches!(fault, Fault::KillAll)), "seed {seed}");
        }
    }
}
