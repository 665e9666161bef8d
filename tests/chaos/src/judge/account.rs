//! The account of all revisions: who made each, and what it changed.
//!
//! Acknowledged writes name their revisions. What is left must have been made by operations whose fate was open: the
//! values that watches showed tell by which. The account is then replayed, and every answer is compared with it.

use std::collections::{BTreeMap, HashMap};

use super::{Evidence, Kind, State, Violation};
use crate::history::{Change, Event, Operation, Outcome, Record, Reply, Request, Revision, Span};

/// What one revision changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub events: Vec<Event>,
    /// What the events' keys held before, in the events' order.
    pub previous: Vec<Option<Record>>,
}

#[derive(Debug, Default)]
pub struct Account {
    pub entries: BTreeMap<Revision, Entry>,
    /// Open operations that turned out to have been done, with their revisions.
    pub resolved: HashMap<u64, Revision>,
    pub still_open: Vec<Operation>,
    /// The state at the end.
    pub state: State,
    pub violations: Vec<Violation>,
}

/// Answers that are to be compared with the state at one revision.
type Claims<'a> = BTreeMap<Revision, Vec<&'a Operation>>;

impl Account {
    pub fn build(evidence: &Evidence) -> Self {
        let mut account = Self { state: evidence.beginning.state.clone(), ..Self::default() };
        let mut made: BTreeMap<Revision, &Operation> = BTreeMap::new();
        let mut claims: Claims<'_> = BTreeMap::new();
        for operation in &evidence.operations {
            if let Some(revision) = operation.made_revision() {
                if let Some(other) = made.insert(revision, operation) {
                    account.violate(Kind::RevisionTwice, format!("revision {revision}: {other}; {operation}"));
                }
            } else if let Some(answer) = operation.answer() {
                let exact = match &operation.request {
                    Request::Read { revision, .. } => *revision,
                    Request::Write { .. } => None,
                };
                claims.entry(exact.unwrap_or(answer.revision)).or_default().push(operation);
            }
        }
        let mut authors = Authors::new(evidence);
        let seen = sightings(evidence);
        let first = evidence.beginning.state.revision;
        // What was there before the round began is known only as of its beginning.
        account.judge_claims(&claims, first);
        for revision in first + 1..=evidence.end {
            let shown = seen.get(&revision).map_or(&[][..], Vec::as_slice);
            let events = match made.get(&revision) {
                Some(operation) => account.acknowledged(operation, revision, shown),
                None => account.unacknowledged(&mut authors, revision, shown),
            };
            let previous = events.iter().map(|event| account.state.get(&event.key).cloned()).collect();
            account.state.apply(revision, &events);
            account.entries.insert(revision, Entry { events, previous });
            account.judge_claims(&claims, revision);
        }
        for operation in made.range(..=first).map(|(_, operation)| *operation) {
            account.violate(Kind::RevisionTwice, format!("revision {first} was there before {operation}"));
        }
        for operation in made.range(evidence.end + 1..).map(|(_, operation)| *operation) {
            let text = format!("the store ended at revision {}, before {operation}", evidence.end);
            account.violate(Kind::LostWrite, text);
        }
        for operation in claims.range(evidence.end + 1..).flat_map(|(_, operations)| operations) {
            let text = format!("the store ended at revision {}, before {operation}", evidence.end);
            account.violate(Kind::WrongRead, text);
        }
        account.still_open = authors.still_open(&account.resolved);
        account
    }

    /// What a revision did that a client was told of.
    fn acknowledged(&mut self, operation: &Operation, revision: Revision, shown: &[Event]) -> Vec<Event> {
        let Request::Write { guards, changes } = &operation.request else { return Vec::new() };
        for guard in guards {
            if !self.state.holds(guard) {
                let has = self.state.get(&guard.key).map_or(0, |record| record.mod_revision);
                self.violate(Kind::WrongGuard, format!("{} was at {has}, but done was {operation}", guard.key));
            }
        }
        self.judge_taken(operation);
        let events = self.state.effect(changes, revision);
        if !shown.is_empty() && !same(&events, shown) {
            self.violate(Kind::LostWrite, format!("revision {revision} shows {} instead of {operation}", brief(shown)));
        }
        events
    }

    /// What a revision did of which no client was told.
    fn unacknowledged(&mut self, authors: &mut Authors<'_>, revision: Revision, shown: &[Event]) -> Vec<Event> {
        if shown.is_empty() {
            self.violate(Kind::Unexplained, format!("nobody knows what revision {revision} is"));
            return Vec::new();
        }
        let Some(operation) = authors.of(shown, &self.resolved) else {
            self.violate(Kind::Unexplained, format!("nobody made {} of revision {revision}", brief(shown)));
            return shown.to_vec();
        };
        if matches!(operation.outcome, Outcome::Refused { .. }) {
            self.violate(Kind::RefusedButDone, format!("revision {revision} was made by {operation}"));
        } else if let Some(answer) = operation.answer() {
            let text = format!("revision {revision} was made by {operation}, answered as {}", answer.revision);
            self.violate(Kind::Unexplained, text);
        } else if let Some(other) = self.resolved.insert(operation.id, revision) {
            self.violate(Kind::RevisionTwice, format!("revisions {other} and {revision} were made by {operation}"));
        }
        let Request::Write { guards, changes } = &operation.request else { return shown.to_vec() };
        for guard in guards {
            if !self.state.holds(guard) {
                self.violate(Kind::WrongGuard, format!("{} had changed before {revision}: {operation}", guard.key));
            }
        }
        let events = self.state.effect(changes, revision);
        if !same(&events, shown) {
            self.violate(Kind::LostWrite, format!("revision {revision} shows {} of {operation}", brief(shown)));
        }
        events
    }

    /// What an acknowledged write says that its deletes took away.
    fn judge_taken(&mut self, operation: &Operation) {
        let Some(Reply::Written(taken)) = operation.answer().map(|answer| &answer.reply) else { return };
        for (key, record) in taken {
            if record.as_ref() != self.state.get(key) {
                let has = describe(self.state.get(key));
                let text = format!("{key} was {has}, not {} as told by {operation}", describe(record.as_ref()));
                self.violate(Kind::WrongRead, text);
            }
        }
    }

    /// Compares what was said of this revision with the state, which is at this revision.
    fn judge_claims(&mut self, claims: &Claims<'_>, revision: Revision) {
        for operation in claims.get(&revision).into_iter().flatten() {
            let Some(answer) = operation.answer() else { continue };
            match (&operation.request, &answer.reply) {
                (Request::Read { spans, .. }, Reply::Read(found)) => self.judge_read(operation, spans, found, revision),
                (Request::Write { guards, .. }, Reply::Guarded(found)) => {
                    if guards.iter().all(|guard| self.state.holds(guard)) {
                        self.violate(Kind::WrongGuard, format!("all held at revision {revision}: {operation}"));
                    }
                    for (key, record) in found {
                        if record.as_ref() != self.state.get(key) {
                            let (has, said) = (describe(self.state.get(key)), describe(record.as_ref()));
                            let text = format!("at revision {revision} {key} is {has}, not {said}: {operation}");
                            self.violate(Kind::WrongRead, text);
                        }
                    }
                }
                // Deletes of what was not there.
                (Request::Write { .. }, Reply::Written(_)) => self.judge_taken(operation),
                (_, reply) => {
                    self.violate(Kind::WrongRead, format!("{operation} was answered with {reply:?}"));
                }
            }
        }
    }

    fn judge_read(&mut self, operation: &Operation, spans: &[Span], found: &[Vec<Record>], revision: Revision) {
        let expected: Vec<Vec<Record>> = spans.iter().map(|span| self.state.read(span)).collect();
        if expected == *found {
            return;
        }
        let flat = |spans: &[Vec<Record>]| spans.iter().flatten().cloned().collect::<Vec<_>>();
        let (expected, found) = (flat(&expected), flat(found));
        let differs = |record: &&Record| !expected.contains(record);
        let missing = expected.iter().find(|record| !found.contains(record));
        let (wrong, missing) = (describe(found.iter().find(differs)), describe(missing));
        let text = format!("at revision {revision} there is {missing} and not {wrong}: {operation}");
        self.violate(Kind::WrongRead, text);
    }

    fn violate(&mut self, kind: Kind, text: String) {
        self.violations.push(Violation::new(kind, text));
    }
}

/// Who may have made a revision that nobody was told of.
struct Authors<'a> {
    by_value: HashMap<&'a str, &'a Operation>,
    /// Open operations that only delete, in the order of their invocations.
    deletes: Vec<&'a Operation>,
    open: Vec<&'a Operation>,
}

impl<'a> Authors<'a> {
    fn new(evidence: &'a Evidence) -> Self {
        let mut authors = Self { by_value: HashMap::new(), deletes: Vec::new(), open: Vec::new() };
        for operation in evidence.beginning.open.iter().chain(&evidence.operations) {
            let Request::Write { changes, .. } = &operation.request else { continue };
            let mut puts = false;
            for change in changes {
                if let Change::Put { value, .. } = change {
                    puts = true;
                    authors.by_value.insert(value, operation);
                }
            }
            if operation.is_open() {
                authors.open.push(operation);
                if !puts {
                    authors.deletes.push(operation);
                }
            }
        }
        authors
    }

    /// A value tells its author; deletes are taken for those of the operation that was invoked first.
    fn of(&self, shown: &[Event], resolved: &HashMap<u64, Revision>) -> Option<&'a Operation> {
        let mut values = shown.iter().filter_map(|event| event.put.as_ref()).map(|record| record.value.as_str());
        if let Some(value) = values.next() {
            return self.by_value.get(value).copied();
        }
        let deletes_them = |operation: &&&Operation| {
            let Request::Write { changes, .. } = &operation.request else { return false };
            shown.iter().all(|event| changes.iter().any(|change| change.key() == event.key))
        };
        let mut free = self.deletes.iter().filter(|operation| !resolved.contains_key(&operation.id));
        free.find(deletes_them).copied()
    }

    fn still_open(&self, resolved: &HashMap<u64, Revision>) -> Vec<Operation> {
        let open = self.open.iter().filter(|operation| !resolved.contains_key(&operation.id));
        open.map(|operation| (*operation).clone()).collect()
    }
}

/// What watches showed of each revision, together. Each of them is compared with the account later.
fn sightings(evidence: &Evidence) -> BTreeMap<Revision, Vec<Event>> {
    let mut all: BTreeMap<Revision, Vec<Event>> = BTreeMap::new();
    let sessions = evidence.watchings.iter().flat_map(|watching| &watching.sessions);
    for (_, sighting) in sessions.flat_map(|session| session.sightings()) {
        let events = all.entry(sighting.event.revision).or_default();
        if !events.contains(&sighting.event) {
            events.push(sighting.event.clone());
        }
    }
    all
}

/// The order within a revision is the transaction's, and watches have been seen to sort it: it is not judged here.
fn same(expected: &[Event], shown: &[Event]) -> bool {
    expected.len() == shown.len() && expected.iter().all(|event| shown.contains(event))
}

fn brief(events: &[Event]) -> String {
    let event = |event: &Event| match &event.put {
        Some(record) => format!("{}={} (version {})", event.key, record.value, record.version),
        None => format!("-{}", event.key),
    };
    events.iter().map(event).collect::<Vec<_>>().join(", ")
}

fn describe(record: Option<&Record>) -> String {
    record.map_or_else(
        || "nothing".to_owned(),
        |record| format!("{}={} of revision {}", record.key, record.value, record.mod_revision),
    )
}
