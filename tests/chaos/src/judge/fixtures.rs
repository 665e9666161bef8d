//! A small history that is right in every way, for tests that spoil it.

use std::time::Duration;

use super::{Beginning, Evidence, State};
use crate::history::{
    Answer, Change, Event, Guard, Message, Moment, Operation, Outcome, Record, Reply, Request, Revision, Seen, Session,
    Sighting, Span, Watching,
};

/// Plays a store and its clients, one operation after the other.
#[derive(Default)]
pub struct Story {
    pub state: State,
    pub operations: Vec<Operation>,
    sightings: Vec<Vec<Sighting>>,
    now: Moment,
}

impl From<State> for Story {
    fn from(state: State) -> Self {
        Self { state, ..Self::default() }
    }
}

pub fn put(key: &str, value: &str) -> Change {
    Change::Put { key: key.to_owned(), value: value.to_owned() }
}

pub fn delete(key: &str) -> Change {
    Change::Delete { key: key.to_owned() }
}

pub fn all() -> Span {
    Span::prefix("k/")
}

impl Story {
    fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    fn push(&mut self, request: Request, answer: Option<Answer>) -> u64 {
        let invoked = self.tick();
        let at = self.tick();
        let outcome = answer.map_or(Outcome::Open, |answer| Outcome::Answered { at, answer });
        let operation =
            Operation { id: invoked, client: 0, connection: 0, invoked, request, outcome, since_start: Duration::ZERO };
        self.operations.push(operation);
        invoked
    }

    fn commit(&mut self, changes: &[Change]) -> (Revision, Vec<(String, Option<Record>)>) {
        let taken = changes
            .iter()
            .filter(|change| matches!(change, Change::Delete { .. }))
            .map(|change| (change.key().to_owned(), self.state.get(change.key()).cloned()))
            .collect();
        let events = self.state.effect(changes, self.state.revision + 1);
        if !events.is_empty() {
            let previous: Vec<_> = events.iter().map(|event| self.state.get(&event.key).cloned()).collect();
            self.state.apply(self.state.revision + 1, &events);
            let sighting = |(event, previous): (Event, _)| Sighting { event, previous };
            self.sightings.push(events.into_iter().zip(previous).map(sighting).collect());
        }
        (self.state.revision, taken)
    }

    /// A write that is acknowledged.
    pub fn write(&mut self, changes: &[Change]) -> Revision {
        let (revision, taken) = self.commit(changes);
        let request = Request::Write { guards: Vec::new(), changes: changes.to_vec() };
        self.push(request, Some(Answer { revision, reply: Reply::Written(taken) }));
        revision
    }

    /// A write whose answer is lost; it is done if `done`.
    pub fn lose(&mut self, changes: &[Change], done: bool) -> u64 {
        if done {
            self.commit(changes);
        }
        self.push(Request::Write { guards: Vec::new(), changes: changes.to_vec() }, None)
    }

    /// A write if the key is as `seen` says.
    pub fn swap(&mut self, key: &str, seen: Option<Record>, value: &str) {
        let guard = Guard { key: key.to_owned(), seen };
        let changes = vec![put(key, value)];
        let reply = if self.state.holds(&guard) {
            Reply::Written(self.commit(&changes).1)
        } else {
            Reply::Guarded(vec![(key.to_owned(), self.state.get(key).cloned())])
        };
        let revision = self.state.revision;
        self.push(Request::Write { guards: vec![guard], changes }, Some(Answer { revision, reply }));
    }

    pub fn read(&mut self, spans: &[Span]) {
        let found = spans.iter().map(|span| self.state.read(span)).collect();
        let revision = self.state.revision;
        let request = Request::Read { spans: spans.to_vec(), revision: None, serializable: false };
        self.push(request, Some(Answer { revision, reply: Reply::Read(found) }));
    }

    /// One watcher that saw all of it, in messages of two revisions each, and then a progress message.
    pub fn watched(&mut self) -> Watching {
        let mut seen = vec![Seen { at: 0, message: Message::Created { revision: 0 } }];
        for pair in self.sightings.clone().chunks(2) {
            let events: Vec<Sighting> = pair.concat();
            let revision = events.last().expect("a revision has an event").event.revision;
            seen.push(Seen { at: self.tick(), message: Message::Events { revision, events, more: false } });
        }
        seen.push(Seen { at: self.tick(), message: Message::Progress { revision: self.state.revision } });
        let session = Session { list: None, start: 1, previous_wanted: true, seen, member: 0 };
        Watching { name: "auditor".to_owned(), span: all(), sessions: vec![session] }
    }

    pub fn evidence(mut self) -> Evidence {
        let watching = self.watched();
        Evidence {
            beginning: Beginning::default(),
            end: self.state.revision,
            operations: self.operations,
            watchings: vec![watching],
            compacted: 0,
        }
    }
}

/// Some of everything.
pub fn story() -> Story {
    let mut story = Story::default();
    story.write(&[put("k/a", "1")]);
    story.write(&[put("k/a", "2"), put("k/b", "3")]);
    story.read(&[all()]);
    let seen = story.state.get("k/a").cloned();
    story.swap("k/a", seen.clone(), "4");
    story.swap("k/a", seen, "5");
    story.lose(&[put("k/b", "6")], true);
    story.lose(&[put("k/b", "7")], false);
    story.read(&[Span::One("k/b".into()), Span::One("k/a".into())]);
    story.write(&[delete("k/b")]);
    story.write(&[delete("k/b")]);
    story.lose(&[delete("k/a")], true);
    story.write(&[put("k/c", "8"), delete("k/a")]);
    story.write(&[put("k/d", "9"), put("k/e", "10")]);
    story.read(&[all()]);
    story
}
