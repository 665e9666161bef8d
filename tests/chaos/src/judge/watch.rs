//! What one watcher was shown, against the account of what there was.
//!
//! Every change in its span once, in order, all changes of a revision together, from where each session began up to where
//! it got; a progress message means that everything up to it was shown; only a compaction ends a watch unasked; and what
//! a list and its watch build up is the store's state in the end.

use std::collections::{BTreeMap, HashSet};

use super::{Account, Evidence, Kind, State, Violation};
use crate::history::{Message, Record, Revision, Session, Sighting, Span, Watching};

/// Broken promises of one watcher that are told; the rest would be more of the same.
const MAX_TOLD: usize = 10;

pub fn check(watching: &Watching, account: &Account, evidence: &Evidence) -> Vec<Violation> {
    let mut judgement = Judgement { watching, account, evidence, violations: Vec::new() };
    judgement.run();
    judgement.violations.truncate(MAX_TOLD);
    judgement.violations
}

struct Judgement<'a> {
    watching: &'a Watching,
    account: &'a Account,
    evidence: &'a Evidence,
    violations: Vec<Violation>,
}

/// How far one session is.
struct Progress {
    /// The first revision that it is to show; nothing is known before the watch stands.
    first: Option<Revision>,
    last: Revision,
    /// The message with the newest revision's events said that more would follow.
    more: bool,
    /// It was said that everything up to here was shown.
    promised: Revision,
    shown: HashSet<(String, Revision)>,
}

impl Judgement<'_> {
    fn run(&mut self) {
        let beginning = &self.evidence.beginning.state;
        let mut reached: Option<Revision> = None;
        // What a cache would hold that is fed by the lists and the events.
        let mut cache: Option<BTreeMap<String, Record>> = None;
        for session in &self.watching.sessions {
            if let Some((revision, records)) = &session.list {
                cache = Some(records.iter().map(|record| (record.key.clone(), record.clone())).collect());
                if session.start > revision + 1 {
                    self.violate(Kind::WatchGap, format!("was asked for {} after a list at {revision}", session.start));
                }
            } else if reached.is_none() && session.start == beginning.revision + 1 {
                cache = Some(within(beginning, &self.watching.span));
            } else if session.start == 0 {
                // It wants only what comes: there is no picture to keep.
                cache = None;
            } else if let Some(reached) = reached
                && session.start > reached + 1
            {
                self.violate(Kind::WatchGap, format!("was resumed at {} after {reached}", session.start));
            }
            self.session(session);
            if let Some(cache) = &mut cache {
                for (_, sighting) in session.sightings().filter(|(_, shown)| shown.event.revision <= self.evidence.end)
                {
                    match &sighting.event.put {
                        Some(record) => cache.insert(sighting.event.key.clone(), record.clone()),
                        None => cache.remove(&sighting.event.key),
                    };
                }
            }
            reached = reached.max(session.reached());
        }
        let end = self.evidence.end;
        if reached.is_none_or(|reached| reached < end) {
            self.violate(Kind::WatchStuck, format!("got to {reached:?}, the store to {end}"));
        } else if let Some(cache) = cache
            && cache != within(&self.account.state, &self.watching.span)
        {
            self.violate(Kind::WatchGap, format!("list and watch do not add up to the state of revision {end}"));
        }
    }

    fn session(&mut self, session: &Session) {
        let first = (session.start > 0).then_some(session.start);
        let mut progress = Progress { first, last: 0, more: false, promised: 0, shown: HashSet::new() };
        for seen in &session.seen {
            match &seen.message {
                Message::Created { revision } => progress.first = progress.first.or(Some(revision + 1)),
                Message::Events { revision, events, more } => {
                    self.events(session, &mut progress, *revision, events);
                    progress.more = *more;
                }
                Message::Progress { revision } => {
                    self.judge_gap(&progress, *revision, Kind::WatchProgress);
                    progress.promised = progress.promised.max(*revision);
                }
                Message::Cancelled { compacted, reason } => {
                    let needed = session.reached().map_or(0, |reached| reached + 1);
                    if *compacted == 0 || *compacted > self.evidence.compacted || needed >= *compacted {
                        let text = format!("which needed {needed} was ended: {reason:?}, compacted at {compacted}");
                        self.violate(Kind::WatchCancel, text);
                    }
                }
            }
        }
        if let Some(reached) = session.reached() {
            self.judge_gap(&progress, reached, Kind::WatchGap);
        }
    }

    fn events(&mut self, session: &Session, progress: &mut Progress, header: Revision, events: &[Sighting]) {
        let newest_before = progress.last;
        for sighting in events {
            let event = &sighting.event;
            let revision = event.revision;
            if revision > self.evidence.end {
                continue;
            }
            let what = format!("{} of revision {revision}", event.key);
            if !progress.shown.insert((event.key.clone(), revision)) {
                self.violate(Kind::WatchTwice, format!("showed {what} again"));
            } else if revision <= progress.promised {
                let text = format!("showed {what} after all up to {} was said to be shown", progress.promised);
                self.violate(Kind::WatchProgress, text);
            } else if revision < progress.last {
                self.violate(Kind::WatchOrder, format!("showed {what} after revision {}", progress.last));
            } else if revision == newest_before && !progress.more {
                self.violate(Kind::WatchSplit, format!("showed {what} apart from the rest of its revision"));
            } else if progress.first.is_none_or(|first| revision < first) {
                self.violate(Kind::WatchOrder, format!("showed {what}, older than {:?}", progress.first));
            }
            progress.last = progress.last.max(revision);
            self.judge_event(session, sighting, &what);
        }
        if events.last().is_some_and(|last| last.event.revision > header) {
            self.violate(Kind::WatchWrong, format!("has events later than its header's {header}"));
        }
    }

    fn judge_event(&mut self, session: &Session, sighting: &Sighting, what: &str) {
        let event = &sighting.event;
        let entry = self.account.entries.get(&event.revision);
        let place = entry.and_then(|entry| entry.events.iter().position(|known| known == event));
        let (Some(entry), Some(place)) = (entry, place) else {
            self.violate(Kind::WatchWrong, format!("showed {what} as {:?}", event.put));
            return;
        };
        if !self.watching.span.contains(&event.key) {
            self.violate(Kind::WatchWrong, format!("showed {what}, which is out of its span"));
        }
        // History that is compacted has no previous values to show.
        let previous = &entry.previous[place];
        let compacted = |record: &Record| record.mod_revision <= self.evidence.compacted;
        let may_lack = sighting.previous.is_none() && previous.as_ref().is_some_and(compacted);
        if session.previous_wanted && sighting.previous != *previous && !may_lack {
            let text = format!("showed {what} with the previous {:?} instead of {previous:?}", sighting.previous);
            self.violate(Kind::WatchWrong, text);
        }
    }

    /// Everything there was from the session's first revision up to this one must have been shown.
    fn judge_gap(&mut self, progress: &Progress, up_to: Revision, kind: Kind) {
        let Some(first) = progress.first else { return };
        let last = up_to.min(self.evidence.end);
        if first > last {
            return;
        }
        let entries = self.account.entries.range(first..=last);
        let missed = entries.flat_map(|(_, entry)| &entry.events).find(|event| {
            self.watching.span.contains(&event.key) && !progress.shown.contains(&(event.key.clone(), event.revision))
        });
        if let Some(event) = missed {
            let text = format!("did not show {} of revision {}, and got to {up_to}", event.key, event.revision);
            self.violate(kind, text);
        }
    }

    fn violate(&mut self, kind: Kind, text: String) {
        self.violations.push(Violation::new(kind, format!("watcher {} {text}", self.watching.name)));
    }
}

fn within(state: &State, span: &Span) -> BTreeMap<String, Record> {
    state.read(span).into_iter().map(|record| (record.key.clone(), record)).collect()
}
