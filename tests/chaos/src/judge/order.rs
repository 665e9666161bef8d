//! Real time against the order of revisions.
//!
//! Whoever asks after a revision was known to anybody must be answered as of that revision or a later one; a write that
//! is invoked then must make a later one. A serializable read may be late, but never goes back on its connection.

use std::collections::HashMap;

use super::{Account, Evidence, Kind, Violation};
use crate::history::{Message, Moment, Operation, Request, Revision};

/// When the store was known to be at a revision.
struct Known {
    at: Moment,
    /// The highest of all revisions known at that moment.
    revision: Revision,
    by: String,
}

pub fn check(evidence: &Evidence, account: &Account) -> Vec<Violation> {
    let known = knowledge(evidence);
    let mut violations = Vec::new();
    for operation in &evidence.operations {
        let made = operation.made_revision().or_else(|| account.resolved.get(&operation.id).copied());
        let (revision, lowest) = match (made, operation.answer(), is_serializable(operation)) {
            (Some(made), ..) => (made, 1),
            (None, Some(answer), false) => (answer.revision, 0),
            _ => continue,
        };
        let before = known.partition_point(|known| known.at < operation.invoked);
        let Some(floor) = before.checked_sub(1).map(|place| &known[place]) else { continue };
        if revision < floor.revision + lowest {
            let text =
                format!("revision {} was known from {} before the {operation}: {revision}", floor.revision, floor.by);
            violations.push(Violation::new(Kind::Stale, text));
        }
    }
    violations.extend(check_connections(&evidence.operations));
    violations
}

/// Ascending in moments and in revisions.
fn knowledge(evidence: &Evidence) -> Vec<Known> {
    let begun = Known { at: 0, revision: evidence.beginning.state.revision, by: "the beginning".to_owned() };
    let mut told: Vec<(Moment, Revision, &dyn std::fmt::Display)> = Vec::new();
    for operation in &evidence.operations {
        if let (Some(at), Some(answer)) = (operation.answered_at(), operation.answer()) {
            told.push((at, answer.revision, operation));
        }
    }
    for watching in &evidence.watchings {
        for seen in watching.sessions.iter().flat_map(|session| &session.seen) {
            let revision = match &seen.message {
                Message::Created { revision } | Message::Progress { revision } => *revision,
                Message::Events { events, .. } => events.last().map_or(0, |sighting| sighting.event.revision),
                Message::Cancelled { .. } => continue,
            };
            told.push((seen.at, revision, &watching.name));
        }
    }
    told.sort_by_key(|(at, ..)| *at);
    let mut known = vec![begun];
    for (at, revision, by) in told {
        if known.last().is_some_and(|last| revision > last.revision) {
            known.push(Known { at, revision, by: by.to_string() });
        }
    }
    known
}

fn is_serializable(operation: &Operation) -> bool {
    matches!(operation.request, Request::Read { serializable: true, .. })
}

/// A connection leads to one member and carries one operation at a time.
fn check_connections(operations: &[Operation]) -> Vec<Violation> {
    let mut last: HashMap<u64, &Operation> = HashMap::new();
    let mut violations = Vec::new();
    for operation in operations {
        let Some(answer) = operation.answer() else { continue };
        if let Some(before) = last.insert(operation.connection, operation)
            && let Some(earlier) = before.answer()
            && earlier.revision > answer.revision
        {
            let text = format!("{operation} came after {before}");
            violations.push(Violation::new(Kind::Backwards, text));
        }
    }
    violations
}
