//! Whether a history is one that the store may show: pure functions, from what was recorded to what is wrong with it.
//!
//! Every answer of the store carries a revision, so the whole history can be judged strictly, transactions and all:
//! - [`account`] puts the writes in the order of their revisions and replays them: each guard, each read and each
//!   deleted record must be what the replay has at that revision, and every revision must have exactly one author;
//! - [`order`] holds that order against real time: no answer may show less than what was known before it was asked for.
//!
//! Both together are strict serializability. [`search`] believes no revision: it looks for any order of the operations on
//! one key that explains what clients saw (Wing & Gong's search with Lowe's memory, key by key). [`watch`] compares
//! what each watch showed with the account.

pub mod account;
pub mod order;
pub mod per_key;
pub mod search;
mod state;
pub mod watch;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod planted;

use std::fmt;

use clap::ValueEnum;

pub use account::Account;
pub use state::State;

use crate::history::{Operation, Revision, Watching};

/// What a round began with.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    pub state: State,
    /// Operations of earlier rounds whose fate is still open: they may be done at any time.
    pub open: Vec<Operation>,
    /// The highest revision that anybody asked the store to compact at.
    pub compacted: Revision,
}

/// All evidence of one round.
pub struct Evidence {
    pub beginning: Beginning,
    pub operations: Vec<Operation>,
    pub watchings: Vec<Watching>,
    /// The store's revision when all was quiet again.
    pub end: Revision,
    /// The highest revision that anybody asked the store to compact at, up to the round's end.
    pub compacted: Revision,
}

/// The promises that can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Kind {
    /// Two acknowledged writes claim one revision.
    RevisionTwice,
    /// A revision that nobody made, or of which nobody knows what it is.
    Unexplained,
    /// An acknowledged write is not what its revision shows.
    LostWrite,
    /// Something that was refused was done.
    RefusedButDone,
    /// A write was done though its guard did not hold, or was not though it did.
    WrongGuard,
    /// A read, or a delete's previous record, shows something else than the revision that it names.
    WrongRead,
    /// An answer shows less than what was known before it was asked for.
    Stale,
    /// On one connection, an answer shows less than the one before.
    Backwards,
    /// No order of the operations on a key explains what was seen.
    NotLinearizable,
    /// A watch left out a change.
    WatchGap,
    /// A watch showed a change twice.
    WatchTwice,
    /// A watch showed changes out of order.
    WatchOrder,
    /// A watch showed the changes of one revision apart.
    WatchSplit,
    /// A watch showed something that is not so.
    WatchWrong,
    /// A watch said that it had shown everything up to a revision, and had not.
    WatchProgress,
    /// A watch ended with a reason that does not hold.
    WatchCancel,
    /// A watch that should have got to the end did not.
    WatchStuck,
    /// Two members led one term.
    TwoLeaders,
    /// A member that had led a term was in an earlier one after that: it had forgotten its vote.
    TermWentBack,
    /// Members differ in what they hold at one revision.
    Diverged,
    /// A member ended by itself, and its disk was not full.
    Died,
    /// With all faults gone, the store did not come back.
    NotHealed,
}

/// One broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub kind: Kind,
    pub text: String,
}

impl Violation {
    pub fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.kind, self.text)
    }
}

/// What became of a round.
#[derive(Debug, Default)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// Keys for which the search gave up; the account and the order have judged them all the same.
    pub undecided: usize,
    /// What the next round begins with.
    pub next: Beginning,
}

/// Judges a round by all rules.
pub fn judge(evidence: &Evidence) -> Verdict {
    let mut account = Account::build(evidence);
    let mut violations = std::mem::take(&mut account.violations);
    violations.extend(order::check(evidence, &account));
    let searched = per_key::check(evidence);
    violations.extend(searched.violations);
    for watching in &evidence.watchings {
        violations.extend(watch::check(watching, &account, evidence));
    }
    let next = Beginning { state: account.state.clone(), open: account.still_open, compacted: evidence.compacted };
    Verdict { violations, undecided: searched.undecided, next }
}
