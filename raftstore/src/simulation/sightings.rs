//! What one watch was shown, judged by the store's history as it comes in.
//!
//! Every change in its range once, in order, all changes of a revision together, from where it began; a list is the
//! picture of its revision; a progress message means that everything up to it was shown; only a compaction ends a watch.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelson_wire::mvccpb::event::EventType;
use keelson_wire::mvccpb::{Event, KeyValue};

use super::chronicle::Chronicle;
use crate::mvcc::KeyRange;

type Outcome = Result<(), String>;

/// What the store told a watch.
#[derive(Debug)]
pub enum Seen {
    /// `floor`: what was known before a linearizable list was asked for.
    Listed {
        kvs: Vec<KeyValue>,
        floor: i64,
    },
    /// `start`: the first revision that was asked for; 0 is the next one.
    Created {
        start: i64,
    },
    /// `more`: a part of an answer.
    Events {
        events: Vec<Event>,
        more: bool,
    },
    Progress,
    Cancelled {
        compacted: i64,
        reason: String,
    },
}

/// How often each thing was seen, so that a run in which nothing happens does not pass for one in which all is well.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counts {
    pub events: u64,
    pub lists: u64,
    pub watches: u64,
    pub progress: u64,
    pub compacted: u64,
}

pub struct Sightings {
    pub name: String,
    pub range: KeyRange,
    pub wants_previous: bool,
    /// The first revision of which it was not told.
    pub next: i64,
    /// It must list before it can watch.
    pub must_list: bool,
    /// What the lists and the events add up to.
    cache: BTreeMap<Bytes, KeyValue>,
    /// Parts of an answer.
    parts: Vec<Event>,
    pub counts: Counts,
}

impl Sightings {
    pub fn new(name: String, range: KeyRange, wants_previous: bool, must_list: bool) -> Self {
        Self {
            name,
            range,
            wants_previous,
            next: 0,
            must_list,
            cache: BTreeMap::new(),
            parts: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// `revision` is the answer's own, in its header. The chronicle has it.
    pub fn take(&mut self, seen: Seen, revision: i64, chronicle: &Chronicle) -> Outcome {
        let outcome = match seen {
            Seen::Listed { kvs, floor } => self.listed(kvs, floor, revision, chronicle),
            Seen::Created { start } => self.created(start, revision, chronicle),
            Seen::Events { events, more } => self.events(events, more, revision, chronicle),
            Seen::Progress => self.progress(revision, chronicle),
            Seen::Cancelled { compacted, reason } => self.cancelled(compacted, &reason, chronicle),
        };
        outcome.map_err(|what| format!("watch {}: {what}", self.name))
    }

    /// Whether it was told everything there is.
    pub fn is_up_to_date(&self, chronicle: &Chronicle) -> bool {
        !self.must_list && self.next > 0 && self.missed(chronicle.revision, chronicle).is_none()
    }

    /// At the end: what it was shown adds up to what there is.
    pub fn whole(&self, state: &BTreeMap<Bytes, KeyValue>) -> Outcome {
        if self.cache == *state {
            return Ok(());
        }
        Err(format!("watch {}: what it was shown adds up to {:?} instead of {state:?}", self.name, self.cache))
    }

    fn missed<'a>(&'a self, up_to: i64, chronicle: &'a Chronicle) -> Option<&'a Event> {
        chronicle.events(&self.range, self.next, up_to).next()
    }

    fn listed(&mut self, kvs: Vec<KeyValue>, floor: i64, revision: i64, chronicle: &Chronicle) -> Outcome {
        self.counts.lists += 1;
        if revision < floor {
            return Err(format!("a linearizable list saw revision {revision} after {floor} was known"));
        }
        let listed: BTreeMap<Bytes, KeyValue> = kvs.into_iter().map(|kv| (kv.key.clone(), kv)).collect();
        let expected = chronicle.picture(&self.range, revision);
        if listed != expected {
            return Err(format!("a list at revision {revision} was {listed:?} instead of {expected:?}"));
        }
        self.cache = listed;
        self.next = revision + 1;
        self.must_list = false;
        Ok(())
    }

    fn created(&mut self, start: i64, revision: i64, chronicle: &Chronicle) -> Outcome {
        self.counts.watches += 1;
        self.parts.clear();
        let start = if start == 0 { revision + 1 } else { start };
        if start != self.next {
            // From the next revision on, or from an earlier one once more.
            self.next = start;
            self.cache = chronicle.picture(&self.range, start - 1);
        }
        Ok(())
    }

    fn events(&mut self, events: Vec<Event>, more: bool, revision: i64, chronicle: &Chronicle) -> Outcome {
        self.parts.extend(events);
        if more {
            return Ok(());
        }
        let events = std::mem::take(&mut self.parts);
        let last = events.iter().filter_map(|event| event.kv.as_ref()).map(|kv| kv.mod_revision).max().unwrap_or(0);
        if last > revision {
            return Err(format!("an event of revision {last} in an answer of {revision}"));
        }
        let expected: Vec<&Event> = chronicle.events(&self.range, self.next, last).collect();
        for place in 0..expected.len().max(events.len()) {
            let (shown, due) = (events.get(place), expected.get(place).copied());
            if !self.fits(shown, due, chronicle) {
                let next = self.next;
                return Err(format!("from revision {next} on it was shown {shown:?} where {due:?} was due"));
            }
        }
        self.counts.events += events.len() as u64;
        for event in events {
            let Some(kv) = event.kv else { continue };
            match EventType::try_from(event.r#type) {
                Ok(EventType::Put) => self.cache.insert(kv.key.clone(), kv),
                _ => self.cache.remove(&kv.key),
            };
        }
        self.next = self.next.max(last + 1);
        Ok(())
    }

    fn fits(&self, shown: Option<&Event>, due: Option<&Event>, chronicle: &Chronicle) -> bool {
        let (Some(shown), Some(due)) = (shown, due) else { return false };
        let previous_fits = match (&shown.prev_kv, &due.prev_kv) {
            (Some(_), _) if !self.wants_previous => false,
            (None, _) if !self.wants_previous => true,
            // History that is compacted has no previous values to show.
            (None, Some(previous)) => previous.mod_revision <= chronicle.compacted,
            (shown, due) => shown == due,
        };
        (shown.r#type, &shown.kv) == (due.r#type, &due.kv) && previous_fits
    }

    fn progress(&mut self, revision: i64, chronicle: &Chronicle) -> Outcome {
        self.counts.progress += 1;
        if let Some(missed) = self.missed(revision, chronicle) {
            return Err(format!("all up to {revision} was said to be shown, and {missed:?} was not"));
        }
        self.next = self.next.max(revision + 1);
        Ok(())
    }

    fn cancelled(&mut self, compacted: i64, reason: &str, chronicle: &Chronicle) -> Outcome {
        self.counts.compacted += 1;
        let next = self.next;
        if compacted == 0 || compacted > chronicle.compacted || next >= compacted {
            return Err(format!("needed {next} and was ended: {reason:?}, compacted at {compacted}"));
        }
        self.must_list = true;
        Ok(())
    }
}
