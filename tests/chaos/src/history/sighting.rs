//! What a watcher was shown.

use super::{Event, Moment, Record, Revision, Span};

/// An event as a watch showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    pub event: Event,
    /// What was there before, where the watch asked for it and the store told.
    pub previous: Option<Record>,
}

/// One message of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The watch stands, as of this revision.
    Created { revision: Revision },
    /// `more`: the next message goes on with the same revision's events (a fragment).
    Events { revision: Revision, events: Vec<Sighting>, more: bool },
    /// Everything up to this revision was shown.
    Progress { revision: Revision },
    /// The store ended the watch; `compacted` is not 0 if it was because the history is gone.
    Cancelled { compacted: Revision, reason: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub at: Moment,
    pub message: Message,
}

/// One watch on one connection, from its creation to its end, of whatever cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The list that came before: its revision and what it held. Without one, the session goes on where the last ended.
    pub list: Option<(Revision, Vec<Record>)>,
    /// The revision that was asked for; 0 is from now on.
    pub start: Revision,
    pub previous_wanted: bool,
    pub seen: Vec<Seen>,
    pub member: usize,
}

/// All sessions of one watcher, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    pub name: String,
    pub span: Span,
    pub sessions: Vec<Session>,
}

impl Session {
    pub fn sightings(&self) -> impl Iterator<Item = (Moment, &Sighting)> {
        self.seen.iter().flat_map(|seen| {
            let events: &[Sighting] = match &seen.message {
                Message::Events { events, .. } => events,
                _ => &[],
            };
            events.iter().map(move |sighting| (seen.at, sighting))
        })
    }

    /// Before any message.
    fn reached_at_first(&self) -> Option<Revision> {
        (self.start > 0).then_some(self.start - 1)
    }

    /// Everything up to this revision was shown: what a next session resumes after. `None` if nothing is sure.
    pub fn reached(&self) -> Option<Revision> {
        self.seen.iter().fold(self.reached_at_first(), |reached, seen| seen.message.reaches(reached))
    }
}

impl Message {
    /// How far a watch is after this message.
    pub fn reaches(&self, before: Option<Revision>) -> Option<Revision> {
        let now = match self {
            Self::Created { revision } if before.is_none() => *revision,
            // A fragment is a part of a revision: resuming after it would lose the rest.
            Self::Events { events, more: false, .. } => match events.last() {
                Some(last) => last.event.revision,
                None => return before,
            },
            Self::Progress { revision } => *revision,
            Self::Events { .. } | Self::Created { .. } | Self::Cancelled { .. } => return before,
        };
        before.max(Some(now))
    }
}
