//! Clients that watch: each has a stream on some member, and takes another when it ends.
//!
//! What they are told waits in an inbox until the store's history is known so far, and is judged then. A client goes on
//! behind the last revision that it was told of; told that this is compacted, it lists, and watches from there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use keelson_wire::etcdserverpb::watch_request::RequestUnion;
use keelson_wire::etcdserverpb::{RangeRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::chronicle::Chronicle;
use super::evidence::SharedHistory;
use super::sightings::{Counts, Seen, Sightings};
use crate::doors::Requests;
use crate::mvcc::KeyRange;
use crate::watch::{Settings, WatchStream, answer_channel};

/// Key and end of each watch. Those of one client share its stream.
const CLIENTS: [&[(&str, &str)]; 4] = [
    &[("key-", "key."), ("key-3", "")],
    &[("\0", "\0"), ("key-2", "key-5"), ("key-5", "")],
    &[("key-4", "\0")],
    &[("key-", "key-4"), ("key-4", "key.")],
];
const PROGRESS_INTERVAL: Duration = Duration::from_millis(400);
/// How long a client may take nothing, and how long some take nothing.
const PATIENCE: Duration = Duration::from_millis(1_000);
const STALL: Duration = Duration::from_millis(1_500);
/// Smaller than some values.
const FRAGMENT_BYTES: usize = 400;
/// How far a client goes back that wants to see again what it saw.
const BACK: i64 = 30;

/// One client, whatever member it is on.
pub struct Watcher {
    watches: Vec<Sightings>,
    inbox: VecDeque<(usize, i64, Seen)>,
    /// It has a stream.
    pub is_attached: bool,
    pub failure: Option<String>,
}

pub type SharedWatcher = Arc<Mutex<Watcher>>;

/// The clients of a run.
pub fn all(random: &mut StdRng) -> Vec<SharedWatcher> {
    let watcher = |(number, spans): (usize, &&[(&str, &str)])| {
        let watches = spans.iter().enumerate().map(|(place, (key, end))| {
            let range = KeyRange::new(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(end.as_bytes()));
            Sightings::new(format!("{number}.{place}"), range, random.random_bool(0.5), random.random_bool(0.5))
        });
        let watches = watches.collect();
        Arc::new(Mutex::new(Watcher { watches, inbox: VecDeque::new(), is_attached: false, failure: None }))
    };
    CLIENTS.iter().enumerate().map(watcher).collect()
}

impl Watcher {
    /// Judges what has come in, as far as the history is known.
    pub fn judge(&mut self, chronicle: &Chronicle) -> Result<(), String> {
        if chronicle.is_torn {
            self.inbox.clear();
            return Ok(());
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        while let Some((place, revision, seen)) = self.inbox.pop_front_if(|(_, at, _)| *at <= chronicle.revision) {
            self.watches[place].take(seen, revision, chronicle)?;
        }
        Ok(())
    }

    /// It has no stream, and knows what it knows: it may begin another.
    pub fn is_free(&self) -> bool {
        !self.is_attached && self.inbox.is_empty()
    }

    pub fn is_up_to_date(&self, chronicle: &Chronicle) -> bool {
        let up_to_date = |watch: &Sightings| watch.is_up_to_date(chronicle);
        chronicle.is_torn || (self.is_attached && self.inbox.is_empty() && self.watches.iter().all(up_to_date))
    }

    /// In words, for who waits in vain.
    pub fn position(&self) -> String {
        let watches = self.watches.iter().map(|watch| format!("{} needs {}", watch.name, watch.next));
        format!("{}, attached: {}", watches.collect::<Vec<_>>().join(", "), self.is_attached)
    }

    pub fn watches(&self) -> &[Sightings] {
        &self.watches
    }

    pub fn count(&self, counts: &mut Counts) {
        for Sightings { counts: of, .. } in &self.watches {
            counts.events += of.events;
            counts.lists += of.lists;
            counts.watches += of.watches;
            counts.progress += of.progress;
            counts.compacted += of.compacted;
        }
    }
}

/// A client's stream on one member, as long as both live.
pub struct Session {
    requests: Arc<Requests>,
    watcher: SharedWatcher,
    history: SharedHistory,
    ended: Arc<AtomicBool>,
    random: StdRng,
    asks: mpsc::UnboundedSender<Result<WatchRequest, tonic::Status>>,
    /// By watch: from which revision on it was asked for, and whether it stands.
    starts: Vec<(i64, bool)>,
}

/// Says that the client has no stream any more, however it was lost.
struct Attached(SharedWatcher);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.lock().is_attached = false;
    }
}

impl Session {
    /// The client's time on this member; the caller has it attached.
    pub fn on(
        requests: Arc<Requests>,
        watcher: SharedWatcher,
        history: SharedHistory,
        ended: Arc<AtomicBool>,
        seed: u64,
    ) -> impl Future<Output = ()> + Send + 'static {
        watcher.lock().is_attached = true;
        let attached = Attached(watcher.clone());
        async move {
            let _attached = attached;
            let (asks, asked) = mpsc::unbounded_channel();
            let (answers, mut told) = answer_channel(PATIENCE);
            let header = requests.clone();
            let settings = Settings {
                progress_interval: PROGRESS_INTERVAL,
                patience: PATIENCE,
                fragment_bytes: FRAGMENT_BYTES,
                header: Arc::new(move |revision| header.header(revision)),
            };
            let asked = UnboundedReceiverStream::new(asked);
            tokio::spawn(WatchStream::run(requests.machine().clone(), settings, asked, answers));
            let starts = vec![(0, false); watcher.lock().watches.len()];
            let random = StdRng::seed_from_u64(seed);
            let mut session = Self { requests, watcher, history, ended, random, asks, starts };
            for place in 0..session.starts.len() {
                let must_list = session.watcher.lock().watches[place].must_list;
                if session.begin(place, must_list).await.is_err() {
                    return;
                }
            }
            while let Some(Ok(response)) = told.next().await {
                if session.take(response).await.is_err() || !session.go_on().await {
                    return;
                }
            }
        }
    }

    /// Lists, if it must, and asks for a watch from there.
    async fn begin(&mut self, place: usize, must_list: bool) -> Result<(), tonic::Status> {
        let (range, prev_kv, next) = {
            let watcher = self.watcher.lock();
            let watch = &watcher.watches[place];
            (watch.range.clone(), watch.wants_previous, watch.next)
        };
        let (key, range_end) = match range {
            KeyRange::One(key) => (key, Bytes::new()),
            KeyRange::Span(key, end) => (key, end),
            KeyRange::From(key) => (key, Bytes::from_static(&[0])),
        };
        let start_revision = if must_list {
            self.list(place, key.clone(), range_end.clone()).await? + 1
        } else if next > BACK && self.random.random_bool(0.1) {
            next - self.random.random_range(1..BACK)
        } else {
            next
        };
        self.starts[place] = (start_revision, false);
        let create = WatchCreateRequest {
            key,
            range_end,
            start_revision,
            prev_kv,
            progress_notify: self.random.random_bool(0.5),
            fragment: self.random.random_bool(0.5),
            watch_id: place as i64 + 1,
            ..WatchCreateRequest::default()
        };
        self.ask(RequestUnion::CreateRequest(create));
        Ok(())
    }

    async fn list(&mut self, place: usize, key: Bytes, range_end: Bytes) -> Result<i64, tonic::Status> {
        let serializable = self.random.random_bool(0.5);
        let floor = if serializable { 0 } else { self.history.lock().known };
        let request = RangeRequest { key, range_end, serializable, ..RangeRequest::default() };
        let response = self.requests.range(&request).await?;
        let revision = response.header.map_or(0, |header| header.revision);
        self.tell(place, revision, Seen::Listed { kvs: response.kvs, floor });
        Ok(revision)
    }

    fn ask(&self, request: RequestUnion) {
        // A stream that has ended is seen by its answers.
        let _ = self.asks.send(Ok(WatchRequest { request_union: Some(request) }));
    }

    fn tell(&self, place: usize, revision: i64, seen: Seen) {
        self.watcher.lock().inbox.push_back((place, revision, seen));
    }

    async fn take(&mut self, response: WatchResponse) -> Result<(), tonic::Status> {
        let revision = response.header.map_or(0, |header| header.revision);
        let place = usize::try_from(response.watch_id - 1).ok().filter(|place| *place < self.starts.len());
        match place {
            Some(place) if response.created => {
                self.starts[place].1 = true;
                self.tell(place, revision, Seen::Created { start: self.starts[place].0 });
            }
            Some(place) if response.canceled => {
                let compacted = response.compact_revision;
                self.starts[place].1 = false;
                self.tell(place, revision, Seen::Cancelled { compacted, reason: response.cancel_reason });
                return self.begin(place, true).await;
            }
            Some(place) if response.events.is_empty() => self.tell(place, revision, Seen::Progress),
            Some(place) => {
                self.tell(place, revision, Seen::Events { events: response.events, more: response.fragment });
            }
            None if response.created || response.canceled => {
                self.watcher.lock().failure.get_or_insert(format!("a watch was refused: {}", response.cancel_reason));
            }
            None => {
                let standing = (0..self.starts.len()).filter(|place| self.starts[*place].1);
                standing.for_each(|place| self.tell(place, revision, Seen::Progress));
            }
        }
        Ok(())
    }

    /// Takes its time, asks how far it is, or has had enough. After the healing it is eager.
    async fn go_on(&mut self) -> bool {
        if self.ended.load(Ordering::Relaxed) {
            return true;
        }
        let pause = match self.random.random_range(0..100) {
            0..2 => return false,
            2..8 => {
                self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
                Duration::ZERO
            }
            8..10 => STALL,
            10..25 => Duration::from_millis(self.random.random_range(1..120)),
            _ => Duration::ZERO,
        };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        true
    }
}
