//! What this node runs, in memory: filled from containerd at the start, then kept by our own calls and by events.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::record::ContainerRecord;
use super::{Container, ContainerFilter, Error, Event, Sandbox};

/// A receiver that is further behind than this is told to look at everything again.
const EVENT_BACKLOG: usize = 1024;

pub struct Table {
    rows: Mutex<Rows>,
    events: broadcast::Sender<Event>,
}

#[derive(Default)]
struct Rows {
    sandboxes: HashMap<String, Sandbox>,
    containers: HashMap<String, Row>,
}

#[derive(Clone)]
pub struct Row {
    pub container: Container,
    pub record: ContainerRecord,
    /// Somebody is about to settle its end.
    pub ending: bool,
}

impl Default for Table {
    fn default() -> Self {
        Table { rows: Mutex::default(), events: broadcast::Sender::new(EVENT_BACKLOG) }
    }
}

impl Table {
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// To whoever listens; nobody has to.
    pub fn announce(&self, event: Event) {
        let _ = self.events.send(event);
    }

    pub fn sandbox(&self, id: &str) -> Option<Sandbox> {
        self.rows.lock().sandboxes.get(id).cloned()
    }

    pub fn require_sandbox(&self, id: &str) -> Result<Sandbox, Error> {
        self.sandbox(id).ok_or_else(|| Error::NotFound { kind: "sandbox", id: id.to_string() })
    }

    pub fn sandboxes(&self) -> Vec<Sandbox> {
        self.rows.lock().sandboxes.values().cloned().collect()
    }

    pub fn put_sandbox(&self, sandbox: Sandbox) {
        self.rows.lock().sandboxes.insert(sandbox.id.clone(), sandbox);
    }

    pub fn change_sandbox(&self, id: &str, change: impl FnOnce(&mut Sandbox)) -> Option<Sandbox> {
        let mut rows = self.rows.lock();
        let sandbox = rows.sandboxes.get_mut(id)?;
        change(sandbox);
        Some(sandbox.clone())
    }

    pub fn remove_sandbox(&self, id: &str) {
        self.rows.lock().sandboxes.remove(id);
    }

    pub fn row(&self, id: &str) -> Option<Row> {
        self.rows.lock().containers.get(id).cloned()
    }

    pub fn require(&self, id: &str) -> Result<Row, Error> {
        self.row(id).ok_or_else(|| Error::NotFound { kind: "container", id: id.to_string() })
    }

    pub fn containers(&self, filter: &ContainerFilter) -> Vec<Container> {
        let wanted = |container: &Container| {
            filter.pod_uid.as_ref().is_none_or(|uid| *uid == container.pod.uid)
                && filter.sandbox_id.as_ref().is_none_or(|id| *id == container.sandbox_id)
        };
        let rows = self.rows.lock();
        let mut found: Vec<Container> =
            rows.containers.values().map(|row| &row.container).filter(|one| wanted(one)).cloned().collect();
        found.sort_by(|left, right| (left.created_at, &left.id).cmp(&(right.created_at, &right.id)));
        found
    }

    pub fn put(&self, row: Row) {
        self.rows.lock().containers.insert(row.container.id.clone(), row);
    }

    /// The right to settle how it ended, which one caller gets.
    pub fn begin_end(&self, id: &str) -> Option<Row> {
        let mut rows = self.rows.lock();
        let row = rows.containers.get_mut(id)?;
        if row.ending || row.container.exit().is_some() {
            return None;
        }
        row.ending = true;
        Some(row.clone())
    }

    pub fn change(&self, id: &str, change: impl FnOnce(&mut Container)) -> Option<Container> {
        let mut rows = self.rows.lock();
        let row = rows.containers.get_mut(id)?;
        change(&mut row.container);
        Some(row.container.clone())
    }

    pub fn remove(&self, id: &str) {
        self.rows.lock().containers.remove(id);
    }

    /// Drops rows of what is no longer in containerd.
    pub fn retain(&self, exists: impl Fn(&str) -> bool) {
        let mut rows = self.rows.lock();
        rows.sandboxes.retain(|id, _| exists(id));
        rows.containers.retain(|id, _| exists(id));
    }
}

/// Receives [`Event`]s.
pub struct EventReceiver(pub(super) broadcast::Receiver<Event>);

impl EventReceiver {
    /// `None`: the runtime is gone.
    pub async fn recv(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Event::Resync),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
