//! One client's watch stream, with all its watches.
//!
//! Watches that have seen everything up to the stream's cursor move on together with it; a watch that starts in the
//! past catches up to the cursor alone, in parts, between the others' turns.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use keelson_wire::etcdserverpb::watch_request::RequestUnion;
use keelson_wire::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};
use keelson_wire::mvccpb::Event;
use prost::Message as _;
use tonic::Status;

use super::answers::{Answers, Closed};
use super::feed::{Watcher, changes};
use super::hub::Bell;
use super::interest::Interest;
use crate::mvcc::{KeyRange, MAX_RESPONSE_HINT, State};
use crate::raft::Machine;
use crate::refusal::Refusal;

/// Watches on one stream.
const MAX_WATCHES: usize = 50_000;
/// etcd's id for "no watch".
const NO_WATCH: i64 = -1;

#[derive(Clone)]
pub struct Settings {
    /// How often a quiet watch that asked for it is told how far it is.
    pub progress_interval: Duration,
    /// A client that takes no answer for this time is given up.
    pub patience: Duration,
    /// Fragments of answers for watches that want them are not larger.
    pub fragment_bytes: usize,
    pub header: Arc<dyn Fn(i64) -> ResponseHeader + Send + Sync>,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the client takes no answers")]
    Closed(Closed),
    #[error(transparent)]
    Disk(#[from] crate::disk::Error),
}

/// What a stream does next.
enum Turn {
    Progress,
    Changes,
    /// None when the client asks for nothing more.
    Request(Option<Result<WatchRequest, Status>>),
}

pub struct WatchStream {
    machine: Arc<Machine>,
    settings: Settings,
    answers: Answers,
    id: u64,
    bell: Arc<Bell>,
    watchers: BTreeMap<i64, Watcher>,
    interest: Interest<i64>,
    /// Watches behind the cursor, by id.
    behind: BTreeMap<i64, ()>,
    /// Every watch that is not behind has been told all up to this revision.
    cursor: i64,
    next_id: i64,
    progress_wanted: bool,
}

impl WatchStream {
    /// Serves the stream until the client ends it or has gone.
    pub async fn run(
        machine: Arc<Machine>,
        settings: Settings,
        mut requests: impl Stream<Item = Result<WatchRequest, Status>> + Unpin,
        answers: Answers,
    ) {
        let (id, bell) = machine.hub().join();
        let cursor = machine.revision();
        let mut stream = Self {
            machine,
            settings,
            answers,
            id,
            bell: bell.clone(),
            watchers: BTreeMap::new(),
            interest: Interest::new(),
            behind: BTreeMap::new(),
            cursor,
            next_id: 0,
            progress_wanted: false,
        };
        let mut progress = tokio::time::interval(stream.settings.progress_interval);
        progress.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        progress.tick().await;
        let mut requests_first = true;
        loop {
            // In turns, so that neither a busy store nor a busy client starves the other, and not by chance, so that the
            // simulation can do it again. Progress is due so rarely that it starves nobody.
            let turn = tokio::select! {
                biased;
                _ = progress.tick() => Turn::Progress,
                () = bell.wait(), if !requests_first => Turn::Changes,
                request = requests.next() => Turn::Request(request),
                () = bell.wait(), if requests_first => Turn::Changes,
            };
            let outcome = match turn {
                Turn::Progress => stream.notify_progress().await,
                Turn::Changes => {
                    requests_first = true;
                    stream.advance().await
                }
                Turn::Request(Some(Ok(request))) => {
                    requests_first = false;
                    stream.handle(request).await
                }
                Turn::Request(Some(Err(_)) | None) => return,
            };
            match outcome {
                Ok(()) => {}
                Err(Ended::Closed(Closed::Gone)) => return,
                Err(Ended::Closed(Closed::Stalled)) => {
                    let watches = stream.watchers.len();
                    tracing::warn!(watches, "a client takes no answers of its watches: its stream is given up");
                    return;
                }
                Err(Ended::Disk(error)) => {
                    tracing::error!(%error, "a watch cannot read the history");
                    let _ = stream.answers.send(Err(Status::internal(error.to_string()))).await;
                    return;
                }
            }
        }
    }

    async fn handle(&mut self, request: WatchRequest) -> Result<(), Ended> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id, 0, "").await,
            Some(RequestUnion::ProgressRequest(_)) => {
                self.progress_wanted = true;
                self.advance().await
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, request: WatchCreateRequest) -> Result<(), Ended> {
        // As in etcd: no key means from the first key on.
        let key = if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key.clone() };
        let range = KeyRange::new(key, request.range_end.clone());
        let refusal = match &range {
            KeyRange::Span(start, end) if start >= end => Some("mvcc: watcher range is empty"),
            _ if self.watchers.contains_key(&request.watch_id) && request.watch_id != 0 => {
                Some("mvcc: duplicate watch ID provided on the WatchStream")
            }
            _ if self.watchers.len() >= MAX_WATCHES => Some("etcdserver: too many watches on the stream"),
            _ => None,
        };
        if let Some(reason) = refusal {
            let response = WatchResponse {
                watch_id: NO_WATCH,
                created: true,
                canceled: true,
                cancel_reason: reason.to_owned(),
                ..self.response(self.machine.revision())
            };
            return self.send(response).await;
        }
        let watch_id = if request.watch_id == 0 { self.free_id() } else { request.watch_id };
        let mut watcher = Watcher {
            range,
            no_put: false,
            no_delete: false,
            prev_kv: request.prev_kv,
            progress_notify: request.progress_notify,
            fragment: request.fragment,
            next: request.start_revision,
            active: false,
        };
        watcher.set_filters(request.filters());
        let (now, compacted) = {
            let mut permit = self.machine.permit();
            self.machine.hub().register(&mut permit, self.id, &watcher.range, watcher.prev_kv);
            (permit.state().revision, permit.state().compacted)
        };
        let start = request.start_revision;
        if start <= 0 {
            watcher.next = now + 1;
        }
        if watcher.next <= self.cursor {
            self.behind.insert(watch_id, ());
        }
        self.interest.add(&watcher.range, watch_id);
        self.watchers.insert(watch_id, watcher);
        let response = WatchResponse { watch_id, created: true, ..self.response(now) };
        self.send(response).await?;
        if start > 0 && start < compacted {
            return self.cancel(watch_id, compacted, &Refusal::Compacted.to_string()).await;
        }
        self.advance().await
    }

    fn free_id(&mut self) -> i64 {
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    async fn cancel(&mut self, watch_id: i64, compact_revision: i64, reason: &str) -> Result<(), Ended> {
        if !self.forget(watch_id) {
            return Ok(());
        }
        let response = WatchResponse {
            watch_id,
            canceled: true,
            compact_revision,
            cancel_reason: reason.to_owned(),
            ..self.response(self.machine.revision())
        };
        self.send(response).await
    }

    fn forget(&mut self, watch_id: i64) -> bool {
        let Some(watcher) = self.watchers.remove(&watch_id) else { return false };
        self.behind.remove(&watch_id);
        self.interest.remove(&watcher.range, watch_id);
        let mut permit = self.machine.permit();
        self.machine.hub().deregister(&mut permit, self.id, &watcher.range, watcher.prev_kv);
        true
    }

    /// Tells every watch what there is for it, until all have seen the newest revision.
    async fn advance(&mut self) -> Result<(), Ended> {
        while !self.behind.is_empty() || self.cursor < self.machine.revision() {
            let state = self.machine.state();
            if let Some((&watch_id, ())) = self.behind.first_key_value() {
                self.catch_up(watch_id, &state).await?;
            }
            if self.cursor < state.revision {
                self.step(&state).await?;
            }
        }
        if std::mem::take(&mut self.progress_wanted) {
            let response = WatchResponse { watch_id: NO_WATCH, ..self.response(self.cursor) };
            self.send(response).await?;
        }
        Ok(())
    }

    /// Moves the cursor, and all that are with it, a part of the way to the newest revision.
    async fn step(&mut self, state: &State) -> Result<(), Ended> {
        let first = self.cursor + 1;
        if first < state.compacted {
            // So far behind that nobody on the stream can be told what it missed.
            return self.cancel_compacted(state).await;
        }
        let batch = changes(self.machine.hub(), state, first, state.revision, MAX_RESPONSE_HINT)?;
        if self.machine.compacted() > first {
            // A compaction overtook the reading: the next turn finds out what is lost.
            return Ok(());
        }
        let reached = batch.last().map_or(state.revision, |change| change.revision);
        let mut told: BTreeMap<i64, Vec<Event>> = BTreeMap::new();
        for change in &batch {
            let mut seen: Vec<i64> = Vec::new();
            for event in &change.events {
                let Some(kv) = &event.event.kv else { continue };
                seen.extend(self.interest.of(&kv.key));
            }
            seen.sort_unstable();
            seen.dedup();
            for watch_id in seen {
                if self.behind.contains_key(&watch_id) {
                    continue;
                }
                if let Some(watcher) = self.watchers.get(&watch_id) {
                    told.entry(watch_id).or_default().extend(watcher.events_of(change, state)?);
                }
            }
        }
        self.cursor = reached;
        for (watch_id, events) in told {
            self.tell(watch_id, events, reached).await?;
        }
        Ok(())
    }

    /// Tells one watch that is behind a part of what it missed.
    async fn catch_up(&mut self, watch_id: i64, state: &State) -> Result<(), Ended> {
        let Some(watcher) = self.watchers.get(&watch_id) else {
            self.behind.remove(&watch_id);
            return Ok(());
        };
        if watcher.next < state.compacted {
            return self.cancel(watch_id, state.compacted, &Refusal::Compacted.to_string()).await;
        }
        let batch = changes(self.machine.hub(), state, watcher.next, self.cursor, MAX_RESPONSE_HINT)?;
        if self.machine.compacted() > watcher.next {
            return Ok(());
        }
        let reached = batch.last().map_or(self.cursor, |change| change.revision);
        let mut events = Vec::new();
        for change in &batch {
            events.extend(watcher.events_of(change, state)?);
        }
        self.tell(watch_id, events, reached).await?;
        if let Some(watcher) = self.watchers.get_mut(&watch_id) {
            watcher.next = reached + 1;
            if watcher.next > self.cursor {
                self.behind.remove(&watch_id);
            }
        }
        Ok(())
    }

    async fn cancel_compacted(&mut self, state: &State) -> Result<(), Ended> {
        let lost: Vec<i64> = self
            .watchers
            .iter()
            .filter(|(id, watcher)| {
                !self.behind.contains_key(id) && watcher.next.max(self.cursor + 1) < state.compacted
            })
            .map(|(id, _)| *id)
            .collect();
        for watch_id in lost {
            self.cancel(watch_id, state.compacted, &Refusal::Compacted.to_string()).await?;
        }
        self.cursor = state.compacted - 1;
        Ok(())
    }

    async fn tell(&mut self, watch_id: i64, events: Vec<Event>, revision: i64) -> Result<(), Ended> {
        if events.is_empty() {
            return Ok(());
        }
        let Some(watcher) = self.watchers.get_mut(&watch_id) else { return Ok(()) };
        watcher.active = true;
        let fragments = if watcher.fragment { fragments(events, self.settings.fragment_bytes) } else { vec![events] };
        let last = fragments.len() - 1;
        for (number, events) in fragments.into_iter().enumerate() {
            let response = WatchResponse { watch_id, fragment: number < last, events, ..self.response(revision) };
            self.send(response).await?;
        }
        Ok(())
    }

    async fn notify_progress(&mut self) -> Result<(), Ended> {
        self.advance().await?;
        let mut quiet = Vec::new();
        for (watch_id, watcher) in &mut self.watchers {
            if watcher.progress_notify && !std::mem::take(&mut watcher.active) {
                quiet.push(*watch_id);
            }
        }
        for watch_id in quiet {
            let response = WatchResponse { watch_id, ..self.response(self.cursor) };
            self.send(response).await?;
        }
        Ok(())
    }

    fn response(&self, revision: i64) -> WatchResponse {
        WatchResponse { header: Some((self.settings.header)(revision)), ..Default::default() }
    }

    /// Waits while the client does not read, for a while.
    async fn send(&self, response: WatchResponse) -> Result<(), Ended> {
        self.answers.send(Ok(response)).await.map_err(Ended::Closed)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let ids: Vec<i64> = self.watchers.keys().copied().collect();
        for watch_id in ids {
            self.forget(watch_id);
        }
        self.machine.hub().leave(self.id);
        self.bell.ring();
    }
}

fn fragments(events: Vec<Event>, limit: usize) -> Vec<Vec<Event>> {
    let mut fragments = vec![Vec::new()];
    let mut bytes = 0;
    for event in events {
        let length = event.encoded_len();
        if bytes > 0 && bytes + length > limit {
            fragments.push(Vec::new());
            bytes = 0;
        }
        bytes += length;
        if let Some(fragment) = fragments.last_mut() {
            fragment.push(event);
        }
    }
    fragments
}
