//! The short fixed run that every check of the project makes: one of all faults, one of members that are killed at chosen
//! points, one of an only member (whose lone writes go another way to the disk), and one for each planted bug, which must
//! be found.
//!
//! Each is a process of its own, since each has namespaces of its own.

use std::process::{Command, Stdio};

use crate::{Error, Result};

/// What is tried, and with which flags. When a planted bug shows depends on who leads and who asks at the time: a run
/// goes on, round by round, to the first round that shows it, and the seconds are a bound.
const RUNS: [(&str, &str); 7] = [
    ("all faults", "--seed 20261124 --seconds 25"),
    ("killed at chosen points", "--seed 20261124 --seconds 12 --failpoints --fault partition,move,kill"),
    (
        "an only member, killed at chosen points",
        "--seed 20261127 --seconds 12 --members 1 --clients 2 --failpoints --fault kill-all",
    ),
    (
        "planted: acknowledged before it is written",
        "--seed 3 --seconds 90 --round 10 --plant ack-before-sync --fault kill-all --expect lost-write,unexplained",
    ),
    ("planted: a watch skips", "--seed 3 --seconds 50 --round 5 --plant watch-skips --fault move --expect watch-gap"),
    (
        "planted: reads ask nobody",
        "--seed 3 --seconds 80 --round 8 --plant stale-read --fault partition,stop --expect stale",
    ),
    (
        "planted: votes are forgotten",
        "--seed 3 --seconds 40 --round 8 --plant lost-vote --fault kill-all --expect two-leaders,term-went-back",
    ),
];

/// Whether all came out as they must.
pub fn run(verbose: bool) -> Result<bool> {
    let own = std::env::current_exe().map_err(|error| Error::tried("find", "this program", error))?;
    let mut good = true;
    for (name, flags) in RUNS {
        println!("---- {name}: chaos {flags}");
        let mut command = Command::new(&own);
        command.args(flags.split(' ')).args(verbose.then_some("--verbose")).stdin(Stdio::null());
        let status = command.status().map_err(|error| Error::tried("run", own.display(), error))?;
        println!("{} {name}", if status.success() { "PASS" } else { "FAIL" });
        good &= status.success();
    }
    Ok(good)
}
