//! Who leads, asked of every member all the time and read in their logs; and whether ever two led one term.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::testimony::{Testimony, testimony};
use crate::cluster::Operator;
use crate::judge::{Kind, Violation};

const EVERY: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_millis(250);

/// The newest leader that any member has told of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub place: Option<usize>,
    pub term: u64,
}

#[derive(Default)]
struct Seen {
    /// For each term, who said of himself that he leads it, and of whom others said so.
    leaders: BTreeMap<u64, BTreeSet<u64>>,
    /// Members that had led a term and then were in an earlier one.
    went_back: BTreeSet<(u64, u64, u64)>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Monitor {
    urls: Arc<Vec<String>>,
    seen: Arc<Mutex<Seen>>,
    newest: watch::Sender<Leadership>,
}

impl Monitor {
    pub fn new(urls: Arc<Vec<String>>) -> Self {
        Self { urls, seen: Arc::default(), newest: watch::Sender::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches one member until the run ends.
    pub async fn follow(self, place: usize) {
        let mut operator: Option<Operator> = None;
        loop {
            tokio::time::sleep(EVERY).await;
            if operator.is_none() {
                operator = Operator::of(&self.urls[place]).await.ok();
            }
            let Some(open) = &operator else { continue };
            let Ok(Ok(status)) = tokio::time::timeout(PATIENCE, open.status()).await else {
                operator = None;
                continue;
            };
            let own = status.header.map_or(0, |header| header.member_id);
            if status.leader == own && own != 0 {
                self.seen().leaders.entry(status.raft_term).or_default().insert(own);
                let told = Leadership { place: Some(place), term: status.raft_term };
                self.newest.send_if_modified(|newest| {
                    let newer = told.term > newest.term;
                    if newer {
                        *newest = told;
                    }
                    newer
                });
            }
        }
    }

    /// Takes in what a member's log tells of who led.
    pub fn hear(&self, log: &str) {
        let Testimony { leaders, went_back } = testimony(log);
        let mut seen = self.seen();
        for (term, leader) in leaders {
            seen.leaders.entry(term).or_default().insert(leader);
        }
        seen.went_back.extend(went_back);
    }

    pub fn newest(&self) -> Leadership {
        *self.newest.borrow()
    }

    /// How often leadership went to another term.
    pub fn changes(&self) -> usize {
        self.seen().leaders.len().saturating_sub(1)
    }

    pub fn violations(&self) -> Vec<Violation> {
        let seen = self.seen();
        let twice = seen.leaders.iter().filter(|(_, leaders)| leaders.len() > 1);
        let twice = twice.map(|(term, leaders)| (Kind::TwoLeaders, format!("term {term}: {leaders:x?}")));
        let went_back = seen.went_back.iter().map(|(member, led, term)| {
            (Kind::TermWentBack, format!("member {member:x} was in term {term} after it had led term {led}"))
        });
        twice.chain(went_back).map(|(kind, text)| Violation::new(kind, text)).collect()
    }
}
