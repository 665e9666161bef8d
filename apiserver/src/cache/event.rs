//! One committed change of one object, encoded at most once for each way to show it.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use super::Entry;

/// How a watcher sees a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    pub fn name(self) -> &'static str {
        match self {
            Change::Added => "ADDED",
            Change::Modified => "MODIFIED",
            Change::Deleted => "DELETED",
        }
    }
}

#[derive(Debug)]
pub struct Event {
    pub revision: i64,
    /// None: deleted.
    pub current: Option<Arc<Entry>>,
    /// None: created.
    pub previous: Option<Arc<Entry>>,
    /// The last state under the revision of the change.
    deleted: OnceLock<Bytes>,
    frames: [OnceLock<Bytes>; 3],
}

impl Event {
    pub fn new(revision: i64, current: Option<Arc<Entry>>, previous: Option<Arc<Entry>>) -> Event {
        Event { revision, current, previous, deleted: OnceLock::new(), frames: Default::default() }
    }

    /// What to show to a watcher whose selection holds for the previous and the current state as said.
    pub fn seen_by(&self, matches: impl Fn(&Entry) -> bool) -> Option<Change> {
        let before = self.previous.as_deref().is_some_and(&matches);
        let now = self.current.as_deref().is_some_and(&matches);
        match (before, now) {
            (false, true) => Some(Change::Added),
            (true, true) => Some(Change::Modified),
            (true, false) => Some(Change::Deleted),
            (false, false) => None,
        }
    }

    /// The object in JSON as `change` shows it.
    pub fn object(&self, change: Change) -> Bytes {
        match (change, &self.current, &self.previous) {
            (Change::Added | Change::Modified, Some(current), _) => current.json().clone(),
            (_, _, Some(previous)) => self.deleted.get_or_init(|| previous.json_at(self.revision)).clone(),
            // Only a delete of something that was never seen has neither, and the feed makes no such event.
            _ => Bytes::from_static(b"{}"),
        }
    }

    /// A line of a JSON watch stream.
    pub fn frame(&self, change: Change) -> Bytes {
        self.frames[change as usize].get_or_init(|| frame(change.name(), &self.object(change))).clone()
    }

    /// What the ring accounts for this event: what nothing else keeps alive.
    pub(super) fn cost(&self) -> usize {
        128 + self.previous.as_ref().map_or(0, |previous| previous.bytes())
    }
}

/// One line of a JSON watch stream.
pub fn frame(kind: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + kind.len() + 24);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(kind.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}
