//! The checkers are tested themselves: histories with one lie in them, and who must find it.

use super::fixtures::{Story, all, put, story};
use super::{Evidence, Kind, judge};
use crate::history::{Message, Operation, Outcome, Reply, Request, Revision, Sighting};

fn kinds(evidence: &Evidence) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = judge(evidence).violations.iter().map(|violation| violation.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[test]
fn a_right_history_has_nothing_wrong() {
    let evidence = story().evidence();
    let verdict = judge(&evidence);
    assert_eq!(verdict.violations, []);
    assert_eq!(verdict.undecided, 0);
    assert_eq!(verdict.next.state, story().state);
    let open: Vec<String> = verdict.next.open.iter().map(|operation| operation.request.to_string()).collect();
    assert_eq!(open, ["write k/b=7"], "one lost write was not done, and may be later");
}

#[test]
fn a_straggler_of_the_round_before_is_no_stranger() {
    let verdict = judge(&story().evidence());
    let mut late = Story::from(verdict.next.state.clone());
    late.lose(&[put("k/b", "7")], true);
    late.operations.clear();
    let mut evidence = late.evidence();
    evidence.watchings[0].sessions[0].start = verdict.next.state.revision + 1;
    evidence.watchings[0].sessions[0].seen.remove(0);
    evidence.beginning = verdict.next;
    assert_eq!(judge(&evidence).violations, []);
}

/// The read of everything that comes last.
fn last_read(evidence: &mut Evidence) -> &mut Operation {
    evidence.operations.last_mut().expect("the story ends with a read")
}

fn found(operation: &mut Operation) -> (&mut Revision, &mut Reply) {
    match &mut operation.outcome {
        Outcome::Answered { answer, .. } => (&mut answer.revision, &mut answer.reply),
        _ => panic!("it was answered"),
    }
}

/// The messages with events of the one watcher.
fn shown(evidence: &mut Evidence, message: usize) -> &mut Vec<Sighting> {
    let session = &mut evidence.watchings[0].sessions[0];
    let mut messages = session.seen.iter_mut().filter_map(|seen| match &mut seen.message {
        Message::Events { events, .. } => Some(events),
        _ => None,
    });
    messages.nth(message).expect("there is one")
}

fn place_of(evidence: &mut Evidence, revision: Revision) -> (usize, usize) {
    for message in 0.. {
        let events = shown(evidence, message);
        if let Some(place) = events.iter().position(|sighting| sighting.event.revision == revision) {
            return (message, place);
        }
    }
    unreachable!("the watch showed every revision")
}

/// A lie, and the kinds of which at least one must be told.
type Lie = (&'static str, fn(&mut Evidence), &'static [Kind]);

fn find(evidence: &mut Evidence, text: &str) -> usize {
    let is_it = |operation: &Operation| operation.request.to_string() == text;
    evidence.operations.iter().position(is_it).expect("the story has it")
}

const LIES: &[Lie] = &[
    (
        "a stale read that names its true revision",
        |evidence| {
            let before = evidence.operations[2].clone();
            let operation = last_read(evidence);
            operation.outcome = before.outcome;
            if let Outcome::Answered { at, .. } = &mut operation.outcome {
                *at = operation.invoked + 1;
            }
        },
        &[Kind::Stale],
    ),
    (
        "a stale read that claims the newest revision",
        |evidence| {
            let mut before = evidence.operations[2].clone();
            let old = found(&mut before).1.clone();
            *found(last_read(evidence)).1 = old;
        },
        &[Kind::WrongRead],
    ),
    (
        "a read that misses a key",
        |evidence| {
            let Reply::Read(spans) = found(last_read(evidence)).1 else { panic!("a read") };
            spans[0].pop();
        },
        &[Kind::WrongRead],
    ),
    (
        "an acknowledged write that is nowhere",
        |evidence| {
            // As if the write had been lost: its revision shows another's write.
            let lost = find(evidence, "write k/c=8 -k/a");
            let revision = evidence.operations[lost].made_revision().expect("made");
            let (message, place) = place_of(evidence, revision);
            shown(evidence, message)[place].event.put.as_mut().expect("a put").value = "6".into();
        },
        &[Kind::LostWrite],
    ),
    (
        "acknowledged writes that are lost at the end",
        |evidence| {
            evidence.end -= 1;
        },
        &[Kind::LostWrite],
    ),
    (
        "two writes of one revision",
        |evidence| {
            let (first, second) = (find(evidence, "write k/a=1"), find(evidence, "write k/a=2 k/b=3"));
            let outcome = evidence.operations[first].outcome.clone();
            let Outcome::Answered { answer, .. } = outcome else { panic!("answered") };
            *found(&mut evidence.operations[second]).0 = answer.revision;
        },
        &[Kind::RevisionTwice],
    ),
    (
        "a transaction that was half done",
        |evidence| {
            let whole = find(evidence, "write k/d=9 k/e=10");
            let revision = evidence.operations[whole].made_revision().expect("made");
            let (message, place) = place_of(evidence, revision);
            shown(evidence, message).remove(place);
        },
        &[Kind::LostWrite],
    ),
    (
        "a swap that was done against its guard",
        |evidence| {
            let Request::Write { guards, .. } = &mut evidence.operations[3].request else { panic!("a swap") };
            guards[0].seen = None;
        },
        &[Kind::WrongGuard],
    ),
    (
        "a swap that was refused although its guard held",
        |evidence| {
            let (seen, Request::Write { guards, .. }) = (
                match found(&mut evidence.operations[4].clone()).1 {
                    Reply::Guarded(found) => found[0].1.clone(),
                    _ => panic!("it was refused"),
                },
                &mut evidence.operations[4].request,
            ) else {
                panic!("a swap")
            };
            guards[0].seen = seen;
        },
        &[Kind::WrongGuard],
    ),
    (
        "a refused write that was done",
        |evidence| {
            let place = find(evidence, "write k/b=6");
            let at = evidence.operations[place].invoked + 1;
            evidence.operations[place].outcome = Outcome::Refused { at, reason: "no".into() };
        },
        &[Kind::RefusedButDone],
    ),
    (
        "a revision that nobody made",
        |evidence| {
            let place = find(evidence, "write k/b=6");
            evidence.operations.remove(place);
        },
        &[Kind::Unexplained],
    ),
    (
        "an answer that goes back on its connection",
        |evidence| {
            // Serializable: it may be late, but not later than the connection's last answer.
            let before = evidence.operations[2].outcome.clone();
            let operation = last_read(evidence);
            if let Request::Read { serializable, .. } = &mut operation.request {
                *serializable = true;
            }
            operation.outcome = before;
        },
        &[Kind::Backwards],
    ),
    (
        "a watch that skips one event",
        |evidence| {
            let (message, place) = place_of(evidence, 4);
            shown(evidence, message).remove(place);
            // Somebody else shows it, so that the account knows it.
            let whole = story().watched();
            evidence.watchings.push(whole);
        },
        &[Kind::WatchGap],
    ),
    (
        "a watch that shows an event twice",
        |evidence| {
            let (message, place) = place_of(evidence, 3);
            let again = shown(evidence, message)[place].clone();
            shown(evidence, message).push(again);
        },
        &[Kind::WatchTwice],
    ),
    (
        "a watch that changes the order",
        |evidence| {
            let (message, _) = place_of(evidence, 3);
            shown(evidence, message).reverse();
        },
        &[Kind::WatchOrder],
    ),
    (
        "a watch that splits a transaction",
        |evidence| {
            let last = evidence.end;
            let (message, place) = place_of(evidence, last);
            let apart = shown(evidence, message).split_off(place + 1);
            assert_eq!(apart.len(), 1, "the last revision has two events");
            let session = &mut evidence.watchings[0].sessions[0];
            let before_progress = session.seen.len() - 1;
            let mut seen = session.seen[before_progress - 1].clone();
            seen.message = Message::Events { revision: last, events: apart, more: false };
            session.seen.insert(before_progress, seen);
        },
        &[Kind::WatchSplit],
    ),
    (
        "a watch with a wrong previous value",
        |evidence| {
            let (message, place) = place_of(evidence, 3);
            shown(evidence, message)[place].previous = None;
        },
        &[Kind::WatchWrong],
    ),
    (
        "a progress message that comes too early",
        |evidence| {
            let session = &mut evidence.watchings[0].sessions[0];
            let progress = session.seen.pop().expect("a progress message");
            session.seen.insert(2, progress);
        },
        &[Kind::WatchProgress],
    ),
    (
        "a watch that ends for no reason",
        |evidence| {
            let session = &mut evidence.watchings[0].sessions[0];
            let last = session.seen.last_mut().expect("a progress message");
            last.message = Message::Cancelled { compacted: 3, reason: "compacted".into() };
        },
        &[Kind::WatchCancel],
    ),
    (
        "a watch that stops before the end",
        |evidence| {
            evidence.watchings[0].sessions[0].seen.truncate(3);
            evidence.watchings.push(story().watched());
        },
        &[Kind::WatchStuck],
    ),
    (
        "a list that was not what the watch goes on from",
        |evidence| {
            let mut listed = story().watched();
            listed.sessions[0].start = 2;
            listed.sessions[0].seen.truncate(1);
            listed.sessions[0].list = Some((1, Vec::new()));
            let whole = evidence.watchings[0].sessions[0].seen.clone();
            let from_two = whole.into_iter().skip(1).map(|mut seen| {
                if let Message::Events { events, .. } = &mut seen.message {
                    events.retain(|sighting| sighting.event.revision >= 3);
                }
                seen
            });
            listed.sessions[0].start = 3;
            listed.sessions[0].seen.extend(from_two);
            evidence.watchings.push(listed);
        },
        &[Kind::WatchGap],
    ),
];

#[test]
fn every_lie_is_found() {
    for (name, lie, expected) in LIES {
        let mut evidence = story().evidence();
        lie(&mut evidence);
        let found = kinds(&evidence);
        assert!(expected.iter().any(|kind| found.contains(kind)), "{name}: found {found:?}, not {expected:?}");
    }
}

/// The search believes no revision, so it must find by itself what shows in values.
#[test]
fn the_search_alone_finds_stale_reads_and_lost_writes() {
    let mut stale = story().evidence();
    let mut before = stale.operations[2].clone();
    let old = found(&mut before).1.clone();
    *found(last_read(&mut stale)).1 = old;
    assert!(kinds(&stale).contains(&Kind::NotLinearizable));

    let mut story = story();
    story.write(&[put("k/z", "20")]);
    story.read(&[all()]);
    let mut lost = story.evidence();
    let Reply::Read(spans) = found(last_read(&mut lost)).1 else { panic!("a read") };
    spans[0].retain(|record| record.key != "k/z");
    assert!(kinds(&lost).contains(&Kind::NotLinearizable));
}
