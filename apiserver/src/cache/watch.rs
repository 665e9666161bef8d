//! Watch streams: the initial state if asked for, then every change in order, with bookmarks.
//!
//! A stream is a cursor into the kind's ring. It ends by its own timeout, or with an ERROR item when the position
//! that it would need is no longer there; it never skips.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use keelson_objects::status::StatusError;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    sync::{OwnedSemaphorePermit, watch as channel},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Cache, Change, Entry, Event, Selection, Snapshot,
    event::frame,
    kind_cache::{KindCache, TooOld},
};
use crate::{pipeline::Options, registry::Kind, storage::Store};

/// Items that travel together at most.
const BATCH: usize = 256;
/// Upstream sends a bookmark about every minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Upstream's `--min-request-timeout`: a watch without timeoutSeconds lives between this and twice as long.
const SHORTEST_LIFE: u64 = 1800;

#[derive(Clone)]
pub enum WatchItem {
    /// An object of the initial state.
    Initial(Arc<Entry>),
    Change(Arc<Event>, Change),
    /// A bookmark object in JSON.
    Bookmark(Bytes),
    /// A Status in JSON; nothing follows.
    Error(Bytes),
}

impl WatchItem {
    pub fn kind(&self) -> &'static str {
        match self {
            WatchItem::Initial(_) => "ADDED",
            WatchItem::Change(_, change) => change.name(),
            WatchItem::Bookmark(_) => "BOOKMARK",
            WatchItem::Error(_) => "ERROR",
        }
    }

    pub fn object(&self) -> Bytes {
        match self {
            WatchItem::Initial(entry) => entry.json().clone(),
            WatchItem::Change(event, change) => event.object(*change),
            WatchItem::Bookmark(object) | WatchItem::Error(object) => object.clone(),
        }
    }

    /// A line of a JSON watch stream.
    pub fn frame(&self) -> Bytes {
        match self {
            WatchItem::Change(event, change) => event.frame(*change),
            other => frame(other.kind(), &other.object()),
        }
    }
}

pub struct WatchStream {
    pub kind: Arc<Kind>,
    cache: Arc<Cache>,
    source: Arc<KindCache>,
    selection: Selection,
    head: channel::Receiver<u64>,
    initial: Option<Initial>,
    cursor: u64,
    /// Changes up to here were in the initial state or are not wanted.
    after: i64,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// Of the next of the two. It stays from event to event: to set it costs more than to look at the event.
    timer: Pin<Box<Sleep>>,
    /// What is ready to be sent before anything else.
    waiting: VecDeque<WatchItem>,
    ended: bool,
    _place: Place,
}

/// One of the places for watches, counted while it is taken.
struct Place {
    _permit: OwnedSemaphorePermit,
    open: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// The initial state that is still to be sent.
struct Initial {
    snapshot: Arc<Snapshot>,
    revision: i64,
    /// The last key that was looked at.
    at: Option<String>,
    /// Close with a bookmark that carries `k8s.io/initial-events-end`.
    end_bookmark: bool,
}

impl Cache {
    /// Opens a watch. Only what is wrong with the request itself is an `Err`; a position that is gone is an ERROR item,
    /// as upstream has it.
    pub async fn watch(
        self: &Arc<Cache>,
        store: &Store,
        kind: &Arc<Kind>,
        selection: Selection,
        options: &Options,
    ) -> Result<WatchStream, StatusError> {
        let place = self.place()?;
        let source = self.of(kind).clone();
        let given = options.resource_version.as_str();
        let asked = match given {
            "" => 0,
            text => text
                .parse::<i64>()
                .ok()
                .filter(|revision| *revision >= 0)
                .ok_or_else(|| StatusError::bad_request(format!("invalid resource version: {text:?}")))?,
        };
        let send_initial = options.send_initial_events.unwrap_or(asked == 0);
        let now = Instant::now();
        let life = match u64::try_from(options.timeout_seconds) {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => Duration::from_secs(rand::random_range(SHORTEST_LIFE..2 * SHORTEST_LIFE)),
        };
        let mut stream = WatchStream {
            kind: kind.clone(),
            cache: self.clone(),
            head: source.subscribe(),
            source,
            selection,
            initial: None,
            cursor: 0,
            after: asked,
            bookmarks: options.allow_watch_bookmarks,
            next_bookmark: now + BOOKMARK_EVERY,
            deadline: now + life,
            timer: Box::pin(sleep_until(now + life)),
            waiting: VecDeque::new(),
            ended: false,
            _place: place,
        };
        if send_initial {
            match given {
                "" => self.caught_up(store).await?,
                _ if asked > 0 => self.reached(asked).await?,
                _ => {}
            }
            let revision = self.revision();
            let snapshot = self.snapshot(kind);
            let revision = revision.max(snapshot.revision);
            stream.after = revision;
            let end_bookmark = options.send_initial_events == Some(true) && options.allow_watch_bookmarks;
            stream.initial = Some(Initial { snapshot, revision, at: None, end_bookmark });
        } else if asked == 0 {
            // sendInitialEvents=false without a version: from now on.
            self.caught_up(store).await?;
            stream.after = self.revision();
        }
        match stream.source.cursor_after(stream.after) {
            Ok(cursor) => stream.cursor = cursor,
            Err(TooOld { floor }) => stream.fail(&too_old(stream.after, floor)),
        }
        Ok(stream)
    }
}

impl Cache {
    fn place(&self) -> Result<Place, StatusError> {
        let permit = self.watches.clone().try_acquire_owned();
        let permit =
            permit.map_err(|_| StatusError::too_many_requests("too many watches, please try again later", 5))?;
        let open = self.metrics.watches.clone();
        open.inc();
        Ok(Place { _permit: permit, open })
    }
}

fn too_old(asked: i64, floor: i64) -> StatusError {
    StatusError::expired(format!("too old resource version: {asked} ({floor})"))
}

impl WatchStream {
    /// The next items, at least one; None when the stream is over.
    pub async fn next(&mut self) -> Option<Vec<WatchItem>> {
        loop {
            if !self.waiting.is_empty() {
                return Some(self.waiting.drain(..).collect());
            }
            if self.ended {
                return None;
            }
            if let Some(items) = self.next_initial() {
                return Some(items);
            }
            let seen = self.cache.revision();
            self.head.borrow_and_update();
            if let Some(items) = self.next_changes() {
                return Some(items);
            }
            if self.ended || !self.waiting.is_empty() {
                continue;
            }
            // The ring was read to its end after `seen` was, so everything up to `seen` has been sent.
            self.after = self.after.max(seen);
            let now = Instant::now();
            if now >= self.deadline {
                self.ended = true;
                return self.bookmarks.then(|| vec![self.bookmark(self.after, false)]);
            }
            if self.bookmarks && now >= self.next_bookmark {
                self.next_bookmark = now + BOOKMARK_EVERY;
                return Some(vec![self.bookmark(self.after, false)]);
            }
            let wake = if self.bookmarks { self.next_bookmark.min(self.deadline) } else { self.deadline };
            if self.timer.deadline() != wake {
                self.timer.as_mut().reset(wake);
            }
            tokio::select! {
                changed = self.head.changed() => self.ended |= changed.is_err(),
                () = self.timer.as_mut() => {}
            }
        }
    }

    fn next_initial(&mut self) -> Option<Vec<WatchItem>> {
        let initial = self.initial.as_mut()?;
        let start = initial.at.as_ref().map(|key| format!("{key}\0"));
        let mut items = Vec::new();
        let mut last = None;
        for entry in initial.snapshot.range(&self.selection.namespace, start.as_deref()) {
            if self.selection.matches(entry) {
                items.push(WatchItem::Initial(entry.clone()));
                if items.len() == BATCH {
                    last = Some(entry.key().to_owned());
                    break;
                }
            }
        }
        if last.is_some() {
            initial.at = last;
            return Some(items);
        }
        let (revision, end_bookmark) = (initial.revision, initial.end_bookmark);
        self.initial = None;
        if end_bookmark {
            items.push(self.bookmark(revision, true));
        }
        (!items.is_empty()).then_some(items)
    }

    fn next_changes(&mut self) -> Option<Vec<WatchItem>> {
        let mut events = Vec::new();
        let mut items = Vec::new();
        loop {
            if let Err(TooOld { floor }) = self.source.read(self.cursor, BATCH, &mut events) {
                self.fail(&too_old(self.after, floor));
                break;
            }
            if events.is_empty() {
                break;
            }
            for event in events.drain(..) {
                self.cursor += 1;
                if event.revision <= self.after {
                    continue;
                }
                if let Some(change) = event.seen_by(|entry| self.selection.covers(entry)) {
                    items.push(WatchItem::Change(event, change));
                }
            }
            if !items.is_empty() {
                break;
            }
        }
        (!items.is_empty()).then_some(items)
    }

    fn fail(&mut self, error: &StatusError) {
        self.waiting.push_back(WatchItem::Error(error.status().to_bytes().into()));
        self.ended = true;
    }

    fn bookmark(&self, revision: i64, initial_end: bool) -> WatchItem {
        let annotations = if initial_end { r#","annotations":{"k8s.io/initial-events-end":"true"}"# } else { "" };
        let (kind, version) = (&self.kind.kind, self.kind.api_version());
        let object = format!(
            r#"{{"kind":"{kind}","apiVersion":"{version}","metadata":{{"resourceVersion":"{revision}"{annotations},"creationTimestamp":null}}}}"#
        );
        WatchItem::Bookmark(object.into())
    }
}
