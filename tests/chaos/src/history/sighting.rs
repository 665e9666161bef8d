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

    /// Everything up to this revision was shown: what a next session resumes after. `None` if nothing is sure.
    pub fn reached(&self) -> Option<Revision> {
        let mut reached = match (&self.list, self.start) {
            (_, start) if start > 0 => Some(start - 1),
            _ => None,
        };
        for seen in &self.seen {
            let next = match &seen.message {
                Message::Created { revision } if reached.is_none() => *revision,
                // A fragment is a part of a revision: resuming after it would lose the rest.
                Message::Events { events, more: false, .. } => {
                    let Some(last) = events.last() else { continue };
                    last.event.revision
                }
                Message::Progress { revision } => *revision,
                Message::Events { .. } | Message::Created { .. } | Message::Cancelled { .. } => continue,
            };
            reached = reached.max(Some(next));
        }
        reached
    }
}
