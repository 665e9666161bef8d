//! Events: what a component says of an object, for people to read.
//!
//! Recording never waits and never fails: events go through a bounded queue to a task that joins what repeats, joins
//! what is similar, and limits what one source says of one object, as client-go does.

mod correlator;
mod generations;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keelson_process::Shutdown;
use serde_json::json;
use tokio::sync::mpsc;

use crate::{Client, Error, Patch};
use correlator::{Correlator, Verdict};

/// Events that wait to be sent; more are dropped.
const QUEUE: usize = 1000;
const ATTEMPTS: u32 = 5;
const FIRST_RETRY: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    fn name(self) -> &'static str {
        match self {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
    }
}

struct Recorded {
    about: ObjectReference,
    event_type: EventType,
    reason: String,
    message: String,
    at: jiff::Timestamp,
}

/// Records events in the name of one component. Cheap to clone.
#[derive(Clone)]
pub struct EventRecorder {
    sender: mpsc::Sender<Recorded>,
    component: Arc<str>,
}

impl EventRecorder {
    /// Starts the sending task; it ends with the process, or when the last recorder is gone and all is sent. `host`
    /// may be empty.
    pub fn new(client: &Client, component: &str, host: &str, shutdown: &Shutdown) -> EventRecorder {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let source = EventSource {
            component: Some(component.to_owned()),
            host: Some(host.to_owned()).filter(|host| !host.is_empty()),
        };
        let sink = Sink { client: client.clone(), source, correlator: Correlator::default() };
        tokio::spawn(sink.run(receiver, shutdown.clone()));
        EventRecorder { sender, component: component.into() }
    }

    /// Says something of an object ([`crate::reference`]).
    pub fn event(&self, about: &ObjectReference, event_type: EventType, reason: &str, message: impl Into<String>) {
        let recorded = Recorded {
            about: about.clone(),
            event_type,
            reason: reason.to_owned(),
            message: message.into(),
            at: jiff::Timestamp::now(),
        };
        if self.sender.try_send(recorded).is_err() {
            tracing::warn!(component = &*self.component, reason, "too many events wait, dropping one");
        }
    }

    pub fn normal(&self, about: &ObjectReference, reason: &str, message: impl Into<String>) {
        self.event(about, EventType::Normal, reason, message);
    }

    pub fn warning(&self, about: &ObjectReference, reason: &str, message: impl Into<String>) {
        self.event(about, EventType::Warning, reason, message);
    }
}

struct Sink {
    client: Client,
    source: EventSource,
    correlator: Correlator,
}

impl Sink {
    async fn run(mut self, mut receiver: mpsc::Receiver<Recorded>, shutdown: Shutdown) {
        loop {
            let recorded = tokio::select! {
                recorded = receiver.recv() => recorded,
                () = shutdown.begun() => return,
            };
            let Some(recorded) = recorded else { return };
            let at = recorded.at;
            let event = self.event(recorded);
            let (event, known) = match self.correlator.correlate(event, at) {
                Verdict::Drop => continue,
                Verdict::Create(event) => (event, false),
                Verdict::Update(event) => (event, true),
            };
            tokio::select! {
                () = self.send(event, known) => {}
                () = shutdown.begun() => return,
            }
        }
    }

    fn event(&self, recorded: Recorded) -> Event {
        let about = recorded.about;
        let namespace = about.namespace.clone().filter(|namespace| !namespace.is_empty());
        let namespace = namespace.unwrap_or_else(|| "default".to_owned());
        let name = about.name.clone().unwrap_or_default();
        let time = Time(recorded.at);
        let mut event = Event {
            count: Some(1),
            first_timestamp: Some(time.clone()),
            last_timestamp: Some(time),
            type_: Some(recorded.event_type.name().to_owned()),
            reason: Some(recorded.reason),
            message: Some(recorded.message),
            source: Some(self.source.clone()),
            reporting_component: self.source.component.clone(),
            reporting_instance: Some(self.source.host.clone().unwrap_or_default()),
            involved_object: about,
            ..Event::default()
        };
        event.metadata.name = Some(format!("{name}.{:x}", recorded.at.as_nanosecond()));
        event.metadata.namespace = Some(namespace);
        event
    }

    /// Sends one event, as often as it may help.
    async fn send(&mut self, mut event: Event, mut known: bool) {
        let mut wait = FIRST_RETRY;
        for _ in 0..ATTEMPTS {
            match self.try_send(&event, known).await {
                Ok(stored) => return self.correlator.stored(&stored),
                // The event expired meanwhile: it begins anew.
                Err(error) if known && error.is_not_found() => {
                    known = false;
                    event.metadata.resource_version = None;
                    continue;
                }
                Err(error) if !error.is_retryable() || error.is_conflict() => {
                    tracing::debug!(%error, "an event was refused");
                    return;
                }
                Err(error) => tracing::debug!(%error, "cannot send an event, trying again"),
            }
            tokio::time::sleep(wait).await;
            wait *= 4;
        }
        tracing::warn!(reason = event.reason, "an event could not be sent");
    }

    async fn try_send(&self, event: &Event, known: bool) -> Result<Event, Error> {
        let api = self.client.namespaced::<Event>(event.metadata.namespace.as_deref().unwrap_or_default());
        if !known {
            return api.create(event).await;
        }
        let patch = json!({
            "count": event.count,
            "lastTimestamp": event.last_timestamp,
            "message": event.message,
        });
        api.patch(event.metadata.name.as_deref().unwrap_or_default(), &Patch::Strategic(patch)).await
    }
}
