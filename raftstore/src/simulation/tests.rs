//! The fixed seeds, and as many as are asked for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use keelson_wire::raft as wire;
use parking_lot::Mutex;

use super::clients::{probe, read};
use super::cluster::{Cluster, run};
use super::plan::{Plan, Report, Violation};
use super::runtime::seed_chance;
use crate::failpoints::Bug;
use crate::refusal::Refusal;

fn hold(plan: Plan) -> Report {
    match run(plan) {
        Ok(report) => report,
        Err(violation) => panic!("{violation}"),
    }
}

/// The first seed that finds the planted bug, and what it finds.
fn found(bug: Bug, judge_votes: bool, seeds: std::ops::Range<u64>) -> Option<Violation> {
    seeds.into_iter().find_map(|seed| run(Plan { bug: Some(bug), judge_votes, ..Plan::of(seed) }).err())
}

fn survive(seed: u64) -> Report {
    let report = hold(Plan::of(seed));
    // A run in which nothing happens would prove nothing.
    let happened = [report.acknowledged > 20, report.reads > 5, report.crashes > 3, report.terms > 1, !report.is_torn];
    assert!(happened.iter().all(|happened| *happened), "{report:?}");
    report
}

#[test]
fn three_members_survive_one() {
    survive(1);
}

#[test]
fn three_members_survive_another() {
    survive(4);
}

#[test]
fn five_members_survive() {
    survive(21);
}

/// Which seed shows what is another matter after each change of the store; a few together show all of it.
#[test]
fn a_few_seeds_show_all_that_is_judged() {
    let mut reports = Vec::new();
    for seed in 5..15 {
        reports.push(survive(seed));
        let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
        let happened = [
            sum(|report| report.changes) > 0,
            sum(|report| report.snapshots) > 2,
            sum(|report| report.resumed) > 0,
            sum(|report| report.outlived) > 0,
            sum(|report| report.leases_ended) > 5,
            sum(|report| report.renewals) > 10,
            sum(|report| report.watched.events) > 500,
            sum(|report| report.watched.watches) > 50,
            sum(|report| report.watched.lists) > 10,
            sum(|report| report.watched.compacted) > 5,
            sum(|report| report.watched.progress) > 50,
        ];
        if happened.iter().all(|happened| *happened) {
            return;
        }
    }
    panic!("some of it never happened: {reports:#?}");
}

/// A run in a process of its own, as it is replayed; its last words.
fn apart(seed: u64) -> (bool, String) {
    let program = std::env::current_exe().expect("this program");
    let mut command = std::process::Command::new(program);
    command.args(["simulation::tests::many_seeds", "--exact", "--ignored", "--nocapture"]);
    let output = command.env("RAFTSTORE_SEEDS", seed.to_string()).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), text)
}

#[test]
fn a_seed_replays_exactly() {
    let report = |(_, text): (bool, String)| {
        let line = text.lines().find(|line| line.starts_with("seed 2: Report")).map(str::to_owned);
        line.expect("a report")
    };
    // In a process in which another was before it, too.
    hold(Plan { millis: 2_000, ..Plan::of(3) });
    assert_eq!(format!("seed 2: {:?}", hold(Plan::of(2))), report(apart(2)));
}

#[test]
fn what_one_leader_decided_does_not_reach_the_next() {
    seed_chance(1);
    let mut cluster = Cluster::new(Plan::of(1));
    // Long enough for a leader.
    for _ in 0..1_500 {
        cluster.step().expect("all is well");
    }
    let leader = cluster.leader().expect("a leader");
    let told = Arc::new(Mutex::new(Vec::new()));
    for (id, member) in &cluster.members {
        let process = member.process.as_ref().expect("it runs");
        let (requests, told, leads) = (process.requests().expect("it has begun"), told.clone(), *id == leader);
        process.spawn(async move {
            let term = requests.consensus().leadership().term;
            for decided in [term, term - 1] {
                let done = requests.consensus().propose_as_leader(decided, wire::Command::default()).await;
                told.lock().push((leads && decided == term, done.map(drop)));
            }
        });
    }
    while told.lock().len() < 2 * cluster.members.len() {
        cluster.step().expect("all is well");
    }
    for (may, done) in told.lock().iter() {
        assert_eq!(*done, if *may { Ok(()) } else { Err(Refusal::LeaderChanged) });
    }
}

/// What a follower acknowledges late, of what was sent to it before a cut, is no answer to what was asked since.
#[test]
fn a_leader_that_was_replaced_behind_a_cut_answers_no_read() {
    let mut replaced = 0;
    // The first eight did, by openraft's own look at who follows.
    for seed in [15, 18, 26, 41, 56, 64, 65, 73, 0, 1] {
        seed_chance(seed);
        let mut cluster = Cluster::new(Plan { members: 3, ..Plan::of(seed) });
        let steps = |cluster: &mut Cluster, most: u64, done: &dyn Fn(&Cluster) -> bool| {
            (0..most).any(|_| {
                cluster.step().unwrap_or_else(|what| panic!("seed {seed}: {what}"));
                done(cluster)
            })
        };
        steps(&mut cluster, 1_500, &|_| false);
        let old = cluster.leader().expect("a leader");
        let others = cluster.members.keys().copied().filter(|id| *id != old);
        cluster.net().set_cut(others.map(|other| (other, old)).collect());
        // What is written now reaches the others, and they cannot say so before the cut ends. Reads all through it.
        let process = cluster.members[&old].process.as_ref().expect("it runs");
        let (requests, history) = (process.requests().expect("it has begun"), cluster.surroundings.history.clone());
        process.spawn(async move {
            for number in 0_u64.. {
                let (requests, history) = (requests.clone(), history.clone());
                tokio::time::sleep(Duration::from_millis(5)).await;
                if number < 3 {
                    tokio::spawn(async move { probe(&requests, &history, b"key-0".to_vec()).await });
                } else {
                    tokio::spawn(async move { read(&requests, &history, b"key-1".to_vec()).await });
                }
            }
        });
        if !steps(&mut cluster, 3_000, &|cluster| cluster.leader().is_some_and(|leader| leader != old)) {
            continue;
        }
        replaced += 1;
        let new = cluster.leader().and_then(|new| cluster.members[&new].process.as_ref()).expect("it leads");
        let (requests, history) = (new.requests().expect("it has begun"), cluster.surroundings.history.clone());
        new.spawn(async move {
            probe(&requests, &history, b"key-1".to_vec()).await.expect("the new leader takes a write");
        });
        let known = cluster.surroundings.history.lock().known;
        let is_written = steps(&mut cluster, 500, &|cluster| cluster.surroundings.history.lock().known > known);
        assert!(is_written);
        steps(&mut cluster, 500, &|_| false);
        cluster.net().set_cut(BTreeSet::new());
        steps(&mut cluster, 500, &|_| false);
    }
    assert!(replaced > 5, "{replaced} leaders were replaced");
}

#[test]
fn a_forgotten_vote_is_found() {
    let violation = found(Bug::LostVote, true, 0..3).expect("it is found");
    assert!(violation.what.contains("forgot its vote"), "{violation}");
}

/// Without a look at the votes: by what comes of it.
#[test]
fn what_comes_of_a_forgotten_vote_is_found() {
    let violation = found(Bug::LostVote, false, 8..24).expect("it is found");
    // In a debug build openraft sees for itself that a leader's vote is older than its log, and ends the member.
    let seen = ["both lead in term", "entries", "raft is shutting down"];
    assert!(seen.iter().any(|words| violation.what.contains(words)), "{violation}");
}

#[test]
fn writes_that_are_acknowledged_before_they_are_synced_are_found() {
    let plan = |seed| Plan { power_cuts_only: true, millis: 10_000, ..Plan::of(seed) };
    let seeds = [1, 2, 4, 5];
    let lost = seeds.iter().filter(|seed| run(Plan { bug: Some(Bug::AckBeforeSync), ..plan(**seed) }).is_err()).count();
    assert!(lost > 0);
    for seed in seeds {
        hold(plan(seed));
    }
}

#[test]
fn watches_that_skip_changes_are_found() {
    let violation = found(Bug::WatchSkips, true, 0..3).expect("it is found");
    assert!(violation.what.contains("watch"), "{violation}");
}

#[test]
fn reads_that_ask_nobody_are_found() {
    let violation = found(Bug::StaleRead, true, 0..5).expect("it is found");
    assert!(violation.what.contains("linearizable"), "{violation}");
}

/// As many seeds as `RAFTSTORE_SEEDS` says: `7`, or `0..1000`. `RAFTSTORE_PLANT` plants a bug, `RAFTSTORE_TRACE` tells
/// everything.
#[test]
#[ignore = "a long run: RAFTSTORE_SEEDS=0..1000"]
fn many_seeds() {
    let text = std::env::var("RAFTSTORE_SEEDS").unwrap_or_else(|_| "0..100".to_owned());
    let number = |text: &str| text.parse::<u64>().expect("RAFTSTORE_SEEDS is a seed, or FROM..TO");
    let seeds = match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    };
    if seeds.end - seeds.start > 1 {
        // Each in a process of its own: a panic ends none but its own run.
        let failed: Vec<u64> = seeds
            .filter(|seed| {
                let (well, text) = apart(*seed);
                eprintln!(
                    "{}",
                    if well { text.lines().find(|line| line.contains("Report")).unwrap_or("") } else { &text }
                );
                !well
            })
            .collect();
        assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
        return;
    }
    let (bug, judge_votes) = match std::env::var("RAFTSTORE_PLANT").as_deref() {
        Err(_) => (None, true),
        Ok("lost-vote") => (Some(Bug::LostVote), true),
        Ok("lost-vote-unjudged") => (Some(Bug::LostVote), false),
        Ok("ack-before-sync") => (Some(Bug::AckBeforeSync), true),
        Ok("stale-read") => (Some(Bug::StaleRead), true),
        Ok("watch-skips") => (Some(Bug::WatchSkips), true),
        Ok(other) => panic!("RAFTSTORE_PLANT={other} is not known here"),
    };
    let loud = std::env::var_os("RAFTSTORE_TRACE").is_some();
    let mut failed = Vec::new();
    let power_cuts_only = std::env::var_os("RAFTSTORE_POWER_CUTS").is_some();
    for seed in seeds {
        let plan = Plan { loud, bug, judge_votes, power_cuts_only, ..Plan::of(seed) };
        match run(plan) {
            Ok(report) => eprintln!("seed {seed}: {report:?}"),
            Err(violation) => {
                eprintln!("{violation}");
                failed.push(seed);
            }
        }
    }
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
}
