//! What fills the cache: a full list, then one watch on everything, for as long as the process lives.
//!
//! A lost connection is taken up again behind the last revision that was applied. When the store has compacted past
//! that point, the cache is listed anew and watchers are told that their position is too old.

use std::{sync::Arc, time::Duration};

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

use super::{Cache, Entry, Snapshot, changes::Changes, entry::Slot};
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
            Ok(()) => {
                pause = FIRST_PAUSE;
                if let Some(ready) = ready.take() {
                    ready();
                }
                follow(&cache, &store, &check).await;
                *cache.is_filled.lock() = false;
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

/// Lists everything at one revision.
async fn fill(cache: &Cache, store: &Store) -> Result<(), Error> {
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
    *cache.is_filled.lock() = true;
    Ok(())
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
    Some((index, cache.kinds[index].entry(relative, &pair.value, pair.mod_revision)?))
}

/// Follows the store until it has compacted past our position.
async fn follow(cache: &Cache, store: &Store, check: &HealthCheck) {
    let mut pause = FIRST_PAUSE;
    loop {
        let before = cache.revision();
        match watch(cache, store, check, before).await {
            End::Compacted => return,
            End::Broken(error) => {
                let revision = cache.revision();
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

async fn watch(cache: &Cache, store: &Store, check: &HealthCheck, after: i64) -> End {
    let Connection { channel, endpoint } = match store.endpoints().connect().await {
        Ok(connection) => connection,
        Err(error) => return End::Broken(error),
    };
    let (requests, mut responses) = match open(channel, after + 1).await {
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
                apply(cache, response);
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
pub(super) fn apply(cache: &Cache, response: WatchResponse) {
    let is_filled = cache.is_filled.lock();
    if !*is_filled {
        return;
    }
    let before = cache.revision();
    if response.events.is_empty() {
        // Progress: everything up to the header's revision was sent. (The answer to the create says less.)
        let reached = response.header.map_or(0, |header| header.revision);
        if !response.created && reached > before {
            cache.advance(reached);
        }
        // A worker that should have told them may have ended.
        cache.kinds.iter().for_each(|kind| kind.settle());
        return;
    }
    let mut reached = before;
    let mut changes = Changes::new(cache);
    for event in response.events {
        let Some(pair) = event.kv else { continue };
        reached = reached.max(pair.mod_revision);
        let Ok(key) = std::str::from_utf8(&pair.key) else { continue };
        let Some((index, relative)) = place(cache, key) else { continue };
        // What a write of this process has shown already is passed over.
        if pair.mod_revision > before {
            let value = (event.r#type != EventType::Delete as i32).then_some(&*pair.value);
            changes.add(index, relative, value, pair.mod_revision);
        }
    }
    changes.publish(reached);
}
