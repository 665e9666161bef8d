//! Which events are sent, and as what: client-go's event correlator.
//!
//! The same event again becomes a higher count of the first. More than ten different messages of one kind within ten
//! minutes become one combined event. One source says at most 25 things at once of one object, and then one in five
//! minutes.

use std::collections::HashSet;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::generations::Generations;

/// Objects, kinds of events and events that are remembered.
const REMEMBERED: usize = 4096;
const SIMILAR: usize = 10;
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_secs(600);
const BURST: f64 = 25.0;
const TOKENS_PER_SECOND: f64 = 1.0 / 300.0;

pub(super) enum Verdict {
    Create(Event),
    /// The event exists: count, time and message are to be patched.
    Update(Event),
    Drop,
}

#[derive(Default)]
struct Similar {
    messages: HashSet<String>,
    last: Option<Timestamp>,
}

#[derive(Default)]
struct Sent {
    count: i32,
    first: Option<Time>,
    name: String,
    resource_version: Option<String>,
}

struct Bucket {
    tokens: f64,
    filled: Option<Timestamp>,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { tokens: BURST, filled: None }
    }
}

pub(super) struct Correlator {
    similar: Generations<String, Similar>,
    sent: Generations<String, Sent>,
    buckets: Generations<String, Bucket>,
}

impl Default for Correlator {
    fn default() -> Self {
        Correlator {
            similar: Generations::new(REMEMBERED),
            sent: Generations::new(REMEMBERED),
            buckets: Generations::new(REMEMBERED),
        }
    }
}

impl Correlator {
    pub(super) fn correlate(&mut self, event: Event, now: Timestamp) -> Verdict {
        let event = self.combine(event, now);
        let (event, known) = self.count(event);
        if !self.admit(&event, now) {
            return Verdict::Drop;
        }
        if known { Verdict::Update(event) } else { Verdict::Create(event) }
    }

    /// Remembers under what name an event was stored.
    pub(super) fn stored(&mut self, event: &Event) {
        let sent = self.sent.entry(event_key(event));
        sent.count = event.count.unwrap_or(1);
        sent.first = event.first_timestamp.clone();
        sent.name = event.metadata.name.clone().unwrap_or_default();
        sent.resource_version = event.metadata.resource_version.clone();
    }

    /// Too many similar events become one that stands for them.
    fn combine(&mut self, mut event: Event, now: Timestamp) -> Event {
        let similar = self.similar.entry(kind_key(&event));
        if similar.last.is_some_and(|last| now.duration_since(last) > SIMILAR_WITHIN) {
            similar.messages.clear();
        }
        similar.last = Some(now);
        let message = event.message.clone().unwrap_or_default();
        let is_new = !similar.messages.contains(&message);
        if similar.messages.len() + usize::from(is_new) < SIMILAR {
            similar.messages.insert(message);
            return event;
        }
        event.message = Some(format!("{COMBINED}{message}"));
        event
    }

    fn count(&mut self, mut event: Event) -> (Event, bool) {
        let sent = self.sent.entry(event_key(&event));
        let known = sent.count > 0;
        sent.count += 1;
        if known {
            event.metadata.name = Some(sent.name.clone());
            event.metadata.resource_version = sent.resource_version.clone();
            event.first_timestamp = sent.first.clone();
            event.count = Some(sent.count);
        } else {
            sent.name = event.metadata.name.clone().unwrap_or_default();
            sent.first = event.first_timestamp.clone();
        }
        (event, known)
    }

    fn admit(&mut self, event: &Event, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(object_key(event));
        if let Some(filled) = bucket.filled {
            let seconds = now.duration_since(filled).as_secs_f64().max(0.0);
            bucket.tokens = (bucket.tokens + seconds * TOKENS_PER_SECOND).min(BURST);
        }
        bucket.filled = Some(now);
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

const COMBINED: &str = "(combined from similar events): ";

/// Source and object.
fn object_key(event: &Event) -> String {
    let source = event.source.clone().unwrap_or_default();
    let about = &event.involved_object;
    let parts = [
        source.component.as_deref(),
        source.host.as_deref(),
        about.kind.as_deref(),
        about.namespace.as_deref(),
        about.name.as_deref(),
        about.uid.as_deref(),
        about.api_version.as_deref(),
        about.field_path.as_deref(),
    ];
    parts.map(Option::unwrap_or_default).join("\n")
}

/// Source, object, type and reason.
fn kind_key(event: &Event) -> String {
    let kind = event.type_.as_deref().unwrap_or_default();
    format!("{}\n{kind}\n{}", object_key(event), event.reason.as_deref().unwrap_or_default())
}

/// All of the event but its time; combined events are one.
fn event_key(event: &Event) -> String {
    let message = event.message.as_deref().unwrap_or_default();
    let message = if message.starts_with(COMBINED) { COMBINED } else { message };
    format!("{}\n{message}", kind_key(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, object: &str, message: &str) -> Event {
        let mut event = Event { message: Some(message.to_owned()), count: Some(1), ..Event::default() };
        event.involved_object.name = Some(object.to_owned());
        event.reason = Some("Tested".to_owned());
        event.metadata.name = Some(name.to_owned());
        event
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_same_event_again_is_counted() {
        let mut correlator = Correlator::default();
        assert!(matches!(correlator.correlate(event("e1", "a", "m"), at(0)), Verdict::Create(_)));
        let Verdict::Update(second) = correlator.correlate(event("e2", "a", "m"), at(1)) else { panic!("an update") };
        assert_eq!((second.metadata.name.as_deref(), second.count), (Some("e1"), Some(2)));
        assert!(matches!(correlator.correlate(event("e3", "b", "m"), at(2)), Verdict::Create(_)));
    }

    #[test]
    fn the_tenth_different_message_is_combined() {
        let mut correlator = Correlator::default();
        for number in 0..9 {
            let verdict = correlator.correlate(event("e", "a", &format!("m{number}")), at(number));
            assert!(matches!(verdict, Verdict::Create(_)));
        }
        let Verdict::Create(combined) = correlator.correlate(event("c", "a", "m9"), at(9)) else { panic!("an event") };
        assert_eq!(combined.message.as_deref(), Some("(combined from similar events): m9"));
        let Verdict::Update(again) = correlator.correlate(event("d", "a", "m10"), at(10)) else { panic!("an update") };
        assert_eq!(again.metadata.name.as_deref(), Some("c"));
        assert_eq!(again.message.as_deref(), Some("(combined from similar events): m10"));
        let later = correlator.correlate(event("l", "a", "m11"), at(1000));
        assert!(matches!(later, Verdict::Create(event) if event.message.as_deref() == Some("m11")));
    }

    #[test]
    fn one_object_is_not_talked_about_without_end() {
        let mut correlator = Correlator::default();
        let mut sent = 0;
        for _ in 0..100 {
            sent += usize::from(!matches!(correlator.correlate(event("e", "a", "m"), at(0)), Verdict::Drop));
        }
        assert_eq!(sent, 25);
        assert!(!matches!(correlator.correlate(event("e", "a", "m"), at(301)), Verdict::Drop));
        assert!(matches!(correlator.correlate(event("e", "a", "m"), at(302)), Verdict::Drop));
    }
}
