//! What clients asked of the store and what they were told: the evidence that [`crate::judge`] weighs.
//!
//! A [`Moment`] is a place in the one order in which this process saw requests leave and answers come. An operation that
//! was answered before another was invoked has the smaller moment; that is all that real-time order means here.

mod recorder;
mod request;
mod sighting;

pub use recorder::{Clock, Recorder};
pub use request::{Change, Guard, Request, Span};
pub use sighting::{Message, Seen, Session, Sighting, Watching};

use std::time::Duration;

/// A revision of the store.
pub type Revision = i64;

/// A place in the order in which things were sent and seen.
pub type Moment = u64;

/// A key as it stands at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: String,
    pub value: String,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    pub version: i64,
}

/// What happened to one key at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub key: String,
    pub revision: Revision,
    /// What was put; `None` for a delete.
    pub put: Option<Record>,
}

/// What an operation was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// For each span of the read what it holds, by key.
    Read(Vec<Vec<Record>>),
    /// The changes were made. For each delete among them what it took away.
    Written(Vec<(String, Option<Record>)>),
    /// The guards did not hold. For each guarded key what was there instead.
    Guarded(Vec<(String, Option<Record>)>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The revision of the header.
    pub revision: Revision,
    pub reply: Reply,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered {
        at: Moment,
        answer: Answer,
    },
    /// The store said that it will never be done.
    Refused {
        at: Moment,
        reason: String,
    },
    /// Nobody knows: it may have been done, may still be done, or never.
    Open,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub id: u64,
    pub client: u32,
    /// The connection that it went over; a connection leads to one member.
    pub connection: u64,
    pub invoked: Moment,
    pub request: Request,
    pub outcome: Outcome,
    /// Since the beginning of the run, for people.
    pub since_start: Duration,
}

impl Operation {
    pub fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Answered { answer, .. } => Some(answer),
            Outcome::Refused { .. } | Outcome::Open => None,
        }
    }

    pub fn answered_at(&self) -> Option<Moment> {
        match &self.outcome {
            Outcome::Answered { at, .. } => Some(*at),
            Outcome::Refused { .. } | Outcome::Open => None,
        }
    }

    pub fn is_open(&self) -> bool {
        self.outcome == Outcome::Open
    }

    /// The revision that this operation made, if it was acknowledged and changed anything. A delete of what is not
    /// there makes none.
    pub fn made_revision(&self) -> Option<Revision> {
        let Request::Write { changes, .. } = &self.request else { return None };
        let answer = self.answer()?;
        let Reply::Written(taken) = &answer.reply else { return None };
        let puts = changes.iter().any(|change| matches!(change, Change::Put { .. }));
        (puts || taken.iter().any(|(_, record)| record.is_some())).then_some(answer.revision)
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (id, client, connection) = (self.id, self.client, self.connection);
        let seconds = self.since_start.as_secs_f64();
        write!(
            formatter,
            "operation {id} (client {client}, connection {connection}, {seconds:.3} s): {}",
            self.request
        )?;
        match &self.outcome {
            Outcome::Answered { at, answer } => {
                let (invoked, revision) = (self.invoked, answer.revision);
                write!(formatter, " answered at revision {revision}, moments {invoked} to {at}")
            }
            Outcome::Refused { reason, .. } => write!(formatter, " refused: {reason}"),
            Outcome::Open => write!(formatter, " never answered, invoked at moment {}", self.invoked),
        }
    }
}
