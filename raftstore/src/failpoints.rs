//! Points at which a test run has this member killed, and bugs that it may be given to prove that the tests find them.
//!
//! Nothing of it is in a member that is built without the feature `failpoints`: every call is an empty function then.
//! With it, `RAFTSTORE_KILL_AT=before-sync/200,after-vote/2` kills the process (SIGKILL, by itself) each time with a
//! chance of one in 200, and one in 2; `RAFTSTORE_BUG=stale-read` plants that bug. In the crate's own tests the simulation
//! decides instead.

/// Where a member may be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    BeforeAppend,
    /// The frame is written and not synced.
    BeforeSync,
    /// The frame is synced, and nobody knows.
    AfterSync,
    BeforeApply,
    /// What was applied is visible, and nobody was answered.
    AfterApply,
    BeforeVote,
    AfterVote,
    BeforeCheckpoint,
    AfterCheckpoint,
    BeforeInstall,
    AfterInstall,
    /// The compacted history is out of the index and still on the disk.
    DuringCompaction,
    BeforePurge,
    AfterPurge,
}

/// What a member may be made to do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    AckBeforeSync,
    WatchSkips,
    StaleRead,
    LostVote,
}

#[cfg(not(any(feature = "failpoints", test)))]
mod switched {
    use super::{Bug, Point};

    #[inline(always)]
    pub fn reached(_: Point) {}

    #[inline(always)]
    pub fn planted(_: Bug) -> bool {
        false
    }
}

#[cfg(all(feature = "failpoints", not(test)))]
mod switched {
    use std::sync::OnceLock;

    use super::{Bug, Point};

    const POINTS: [(&str, Point); 14] = [
        ("before-append", Point::BeforeAppend),
        ("before-sync", Point::BeforeSync),
        ("after-sync", Point::AfterSync),
        ("before-apply", Point::BeforeApply),
        ("after-apply", Point::AfterApply),
        ("before-vote", Point::BeforeVote),
        ("after-vote", Point::AfterVote),
        ("before-checkpoint", Point::BeforeCheckpoint),
        ("after-checkpoint", Point::AfterCheckpoint),
        ("before-install", Point::BeforeInstall),
        ("after-install", Point::AfterInstall),
        ("during-compaction", Point::DuringCompaction),
        ("before-purge", Point::BeforePurge),
        ("after-purge", Point::AfterPurge),
    ];
    const BUGS: [(&str, Bug); 4] = [
        ("ack-before-sync", Bug::AckBeforeSync),
        ("watch-skips", Bug::WatchSkips),
        ("stale-read", Bug::StaleRead),
        ("lost-vote", Bug::LostVote),
    ];

    /// A name that is not known ends the process: a test that plants nothing must not pass for one that does.
    fn named<T: Copy>(table: &[(&str, T)], name: &str) -> T {
        match table.iter().find(|(known, _)| *known == name) {
            Some((_, found)) => *found,
            None => {
                eprintln!("failpoints: {name:?} is not known");
                std::process::exit(2);
            }
        }
    }

    fn armed() -> &'static [(Point, u32)] {
        static ARMED: OnceLock<Vec<(Point, u32)>> = OnceLock::new();
        ARMED.get_or_init(|| {
            let text = std::env::var("RAFTSTORE_KILL_AT").unwrap_or_default();
            let words = text.split(',').filter(|word| !word.is_empty());
            words
                .map(|word| {
                    let (name, chance) = word.split_once('/').unwrap_or((word, "1"));
                    (named(&POINTS, name), chance.parse().unwrap_or(1))
                })
                .collect()
        })
    }

    pub fn reached(point: Point) {
        let Some((_, chance)) = armed().iter().find(|(armed, _)| *armed == point) else { return };
        if rand::random_range(0..(*chance).max(1)) == 0 {
            eprintln!("failpoints: killed at {point:?}");
            // SAFETY: the call takes plain numbers and ends this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
    }

    pub fn planted(bug: Bug) -> bool {
        static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();
        let planted = PLANTED.get_or_init(|| std::env::var("RAFTSTORE_BUG").ok().map(|name| named(&BUGS, &name)));
        *planted == Some(bug)
    }
}

#[cfg(test)]
pub use crate::simulation::{planted, reached};
#[cfg(not(test))]
pub use switched::{planted, reached};
