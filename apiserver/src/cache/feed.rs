//! The only writer of the cache: a full list, then one watch on everything, for as long as the process lives.
//!
//! A lost connection is taken up again behind the last revision that was applied. When the store has compacted past
//! that point, the cache is listed anew and watchers are told that their position is too old.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use keelson_process::health::HealthCheck;
use keelson_wire::{
    etcdserverpb::{
        RangeRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse, watch_client::WatchClient,
        watch_request::RequestUnion,
    },
    mvccpb::{self, event::EventType},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{Cache, Entry, Event, Snapshot, decode::decode, entry::Slot};
use crate::storage::{Connection, Error, Store};

const ROOT: &str = "/registry/";
/// '0' is the character after '/'.
const ROOT_END: &str = "/registry0";
const PAGE: i64 = 1000;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How often the store is asked how far it is when nothing happens, so that bookmarks and consistent reads get on.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
const MESSAGE_LIMIT: usize = 256 << 20;

/// Why a watch ended.
enum End {
    Broken(Error),
    Compacted,
}

pub(super) async fn run(cache: Arc<Cache>, store: Store, check: HealthCheck, ready: impl FnOnce()) {
    let mut ready = Some(ready);
    let mut pause = FIRST_PAUSE;
    loop {
        match fill(&cache, &store).await {
            Ok(revision) => {
                pause = FIRST_PAUSE;
                if let Some(ready) = ready.take() {
                    ready();
                }
                follow(&cache, &store, &check, revision).await;
                tracing::warn!("the store has compacted past the watch cache's position, listing anew");
            }
            Err(error) => {
                check.set_failed(error.to_string());
                tracing::warn!(%error, "the watch cache cannot be filled");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Lists everything at one revision and answers it.
async fn fill(cache: &Cache, store: &Store) -> Result<i64, Error> {
    let mut snapshots: Vec<Snapshot> = cache.kinds.iter().map(|_| Snapshot::default()).collect();
    let mut start = Bytes::from_static(ROOT.as_bytes());
    let mut revision = 0;
    loop {
        let page = store
            .range(RangeRequest {
                key: start,
                range_end: Bytes::from_static(ROOT_END.as_bytes()),
                limit: PAGE,
                revision,
                ..Default::default()
            })
            .await?;
        if revision == 0 {
            revision = page.header.as_ref().map_or(0, |header| header.revision);
        }
        let more = page.more;
        let Some(last) = page.kvs.last().map(|pair| pair.key.clone()) else { break };
        for pair in page.kvs {
            if let Some((index, entry)) = entry_of(cache, &pair) {
                let snapshot = &mut snapshots[index];
                snapshot.revision = snapshot.revision.max(entry.revision);
                snapshot.slots.insert(Slot(Arc::new(entry)));
            }
        }
        if !more {
            break;
        }
        let mut next = last.to_vec();
        next.push(0);
        start = next.into();
    }
    for (kind, mut snapshot) in cache.kinds.iter().zip(snapshots) {
        snapshot.revision = revision;
        kind.reset(snapshot, revision);
    }
    cache.advance(revision);
    Ok(revision)
}

/// The kind's cache and the key below its prefix.
fn place<'a>(cache: &Cache, key: &'a str) -> Option<(usize, &'a str)> {
    // Prefixes have two to four parts ("/registry/services/specs/"); the first that is known decides.
    let slashes = key.char_indices().filter(|(_, character)| *character == '/').skip(2).take(3);
    for (slash, _) in slashes {
        if let Some(index) = cache.by_prefix.get(&key[..=slash]) {
            return Some((*index, &key[slash + 1..]));
        }
    }
    None
}

fn entry_of(cache: &Cache, pair: &mvccpb::KeyValue) -> Option<(usize, Entry)> {
    let key = std::str::from_utf8(&pair.key).ok()?;
    let (index, relative) = place(cache, key)?;
    match decode(&cache.kinds[index].kind, relative, &pair.value, pair.mod_revision) {
        Ok(entry) => Some((index, entry)),
        Err(error) => {
            tracing::error!(key, %error, "a stored object is left out");
            None
        }
    }
}

/// Follows the store until it has compacted past our position.
async fn follow(cache: &Cache, store: &Store, check: &HealthCheck, mut revision: i64) {
    let mut pause = FIRST_PAUSE;
    loop {
        let before = revision;
        match watch(cache, store, check, &mut revision).await {
            End::Compacted => return,
            End::Broken(error) => {
                check.set_failed(error.to_string());
                tracing::warn!(%error, revision, "the store's watch is interrupted");
                if revision > before {
                    pause = FIRST_PAUSE;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

async fn watch(cache: &Cache, store: &Store, check: &HealthCheck, revision: &mut i64) -> End {
    let Connection { channel, endpoint } = match store.endpoints().connect().await {
        Ok(connection) => connection,
        Err(error) => return End::Broken(error),
    };
    let (requests, mut responses) = match open(channel, *revision + 1).await {
        Ok(stream) => stream,
        Err(error) => {
            store.endpoints().pass_on(endpoint);
            return End::Broken(error);
        }
    };
    let mut progress = tokio::time::interval(PROGRESS_EVERY);
    loop {
        let response = tokio::select! {
            biased;
            response = responses.message() => response,
            _ = progress.tick() => {
                let request = RequestUnion::ProgressRequest(WatchProgressRequest {});
                // A full buffer means that a request is under way already.
                let _ = requests.try_send(WatchRequest { request_union: Some(request) });
                continue;
            }
        };
        match response {
            Ok(Some(response)) if response.compact_revision > 0 => return End::Compacted,
            Ok(Some(response)) if response.canceled => {
                return End::Broken(Error::Lost(format!("cancelled: {}", response.cancel_reason)));
            }
            Ok(Some(response)) => {
                if response.created {
                    check.set_ok();
                }
                apply(cache, response, revision);
            }
            Ok(None) => return End::Broken(Error::Lost("the stream ended".to_owned())),
            Err(status) => return End::Broken(Error::from_status(&status)),
        }
    }
}

type WatchCall = (mpsc::Sender<WatchRequest>, Streaming<WatchResponse>);

async fn open(channel: Channel, start_revision: i64) -> Result<WatchCall, Error> {
    let (requests, stream) = mpsc::channel(2);
    let create = WatchCreateRequest {
        key: Bytes::from_static(ROOT.as_bytes()),
        range_end: Bytes::from_static(ROOT_END.as_bytes()),
        start_revision,
        progress_notify: true,
        ..Default::default()
    };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    requests.send(create).await.map_err(|_| Error::Protocol("the request stream ended before it began"))?;
    let mut client = WatchClient::new(channel).max_decoding_message_size(MESSAGE_LIMIT);
    let responses = client.watch(ReceiverStream::new(stream)).await.map_err(|status| Error::from_status(&status))?;
    Ok((requests, responses.into_inner()))
}

/// Makes one answer of the watch visible: snapshots and events of every kind in it, then the revision.
fn apply(cache: &Cache, response: WatchResponse, revision: &mut i64) {
    if response.events.is_empty() {
        // Progress: everything up to the header's revision was sent. (The answer to the create says less.)
        let reached = response.header.map_or(0, |header| header.revision);
        if !response.created && reached > *revision {
            *revision = reached;
            cache.advance(reached);
        }
        return;
    }
    let mut changed: HashMap<usize, (Snapshot, Vec<Event>)> = HashMap::new();
    for event in response.events {
        let Some(pair) = event.kv else { continue };
        if pair.mod_revision <= *revision && response.fragment {
            continue;
        }
        let Ok(key) = std::str::from_utf8(&pair.key) else { continue };
        let Some((index, relative)) = place(cache, key) else { continue };
        let kind = &cache.kinds[index];
        let (snapshot, events) = changed.entry(index).or_insert_with(|| (Snapshot::clone(&kind.current()), Vec::new()));
        snapshot.revision = pair.mod_revision;
        let (current, previous) = if event.r#type == EventType::Delete as i32 {
            (None, snapshot.slots.remove(relative).map(|slot| slot.0))
        } else {
            match decode(&kind.kind, relative, &pair.value, pair.mod_revision) {
                Ok(entry) => {
                    let entry = Arc::new(entry);
                    let previous = snapshot.slots.insert(Slot(entry.clone())).map(|slot| slot.0);
                    (Some(entry), previous)
                }
                Err(error) => {
                    tracing::error!(key, %error, "a stored object is left out");
                    (None, snapshot.slots.remove(relative).map(|slot| slot.0))
                }
            }
        };
        if current.is_some() || previous.is_some() {
            events.push(Event::new(pair.mod_revision, current, previous));
        }
        *revision = (*revision).max(pair.mod_revision);
    }
    for (index, (snapshot, events)) in changed {
        cache.kinds[index].publish(snapshot, events);
    }
    cache.advance(*revision);
}
