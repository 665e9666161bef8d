//! The same watches on both: each must be told the same, in the same order, however it is cut into answers.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::watch_client::WatchClient;
use keelson_wire::etcdserverpb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::generate::Generator;
use super::sides::{Pair, Side, Step};
use crate::harness::{PATIENCE, put};

/// What each watch was told, in words, by its id.
type Told = BTreeMap<i64, Vec<String>>;

struct Watching {
    requests: mpsc::Sender<etcd::WatchRequest>,
    responses: Streaming<etcd::WatchResponse>,
    told: Told,
    /// Creations that were answered.
    created: usize,
}

impl Watching {
    async fn open(side: &Side) -> Self {
        let (requests, stream) = mpsc::channel(64);
        // etcd answers nothing, not even that the stream is open, before it is asked something.
        let first = RequestUnion::ProgressRequest(etcd::WatchProgressRequest {});
        requests.send(etcd::WatchRequest { request_union: Some(first) }).await.expect("asked");
        let mut client = WatchClient::new(side.channel.clone()).max_decoding_message_size(usize::MAX);
        let responses = client.watch(ReceiverStream::new(stream)).await.expect("a stream").into_inner();
        Self { requests, responses, told: Told::new(), created: 0 }
    }

    async fn ask(&self, request: RequestUnion) {
        self.requests.send(etcd::WatchRequest { request_union: Some(request) }).await.expect("asked");
    }

    async fn hear(&mut self) {
        let response = self.responses.message().await.expect("no error").expect("not ended");
        let told = self.told.entry(response.watch_id).or_default();
        let revision = response.header.as_ref().map(|header| header.revision);
        if response.created {
            self.created += 1;
            told.push(format!("created at {revision:?}"));
        }
        told.extend(response.events.iter().map(|event| format!("{event:?}")));
        if response.canceled {
            // Why a watch is cancelled is said by raftstore in words, too, where etcd sets the compact revision alone.
            let reason = if response.compact_revision > 0 { "" } else { &response.cancel_reason };
            told.push(format!("canceled: {reason} compacted: {}", response.compact_revision));
        }
        if !response.created && !response.canceled && response.events.is_empty() {
            told.push("progress".to_owned());
        }
    }
}

struct Watches {
    etcd: Watching,
    ours: Watching,
    /// Watches that were asked for.
    created: usize,
}

impl Watches {
    async fn open(pair: &Pair) -> Self {
        Self { etcd: Watching::open(&pair.etcd).await, ours: Watching::open(&pair.ours).await, created: 0 }
    }

    async fn ask(&self, request: RequestUnion) {
        self.etcd.ask(request.clone()).await;
        self.ours.ask(request).await;
    }

    /// Asks for a watch and listens until both have answered: the answer tells the revision of its moment, so nothing may
    /// change before.
    async fn create(&mut self, creation: etcd::WatchCreateRequest, place: &str) {
        self.ask(RequestUnion::CreateRequest(creation)).await;
        self.created += 1;
        self.listen(place, |watches| {
            watches.etcd.created == watches.created && watches.ours.created == watches.created
        })
        .await;
    }

    /// Listens until both were told the same, at least this much in all.
    async fn settle(&mut self, at_least: usize, place: &str) {
        self.listen(place, |watches| watches.etcd.told == watches.ours.told && heard(&watches.etcd.told) >= at_least)
            .await;
    }

    async fn listen(&mut self, place: &str, until: impl Fn(&Self) -> bool) {
        let started = std::time::Instant::now();
        while !until(self) {
            let listened = tokio::time::timeout(PATIENCE / 3, async {
                tokio::select! {
                    () = self.etcd.hear() => {}
                    () = self.ours.hear() => {}
                }
            });
            if listened.await.is_err() || started.elapsed() > PATIENCE {
                self.differ(place);
            }
        }
    }

    fn differ(&self, place: &str) -> ! {
        let ids = self.etcd.told.keys().chain(self.ours.told.keys());
        for id in ids {
            let of = |told: &Told| told.get(id).cloned().unwrap_or_default();
            let (theirs, ours) = (of(&self.etcd.told), of(&self.ours.told));
            let same = theirs.iter().zip(&ours).take_while(|(one, other)| one == other).count();
            if theirs != ours {
                let (theirs, ours) = (&theirs[same..], &ours[same..]);
                panic!("{place}: watch {id} after {same} of the same: etcd told {theirs:#?}, raftstore {ours:#?}");
            }
        }
        panic!("{place}: both say the same, and too little: {:#?}", self.etcd.told);
    }
}

fn heard(told: &Told) -> usize {
    told.values().map(Vec::len).sum()
}

fn create(key: &'static [u8], range_end: &'static [u8]) -> etcd::WatchCreateRequest {
    let (key, range_end) = (Bytes::from_static(key), Bytes::from_static(range_end));
    etcd::WatchCreateRequest { key, range_end, prev_kv: true, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_picked_by_hand_are_told_the_same() {
    let mut pair = Pair::started().await;
    let mut watches = Watches::open(&pair).await;
    for value in ["1", "2", "3"] {
        pair.judge(&Step::Put(put("k", value)), "before").await;
    }
    pair.judge(&Step::DeleteRange(etcd::DeleteRangeRequest { key: "k".into(), ..Default::default() }), "before").await;
    let creations = [
        create(b"k", b""),
        create(b"", b""),
        create(b"", b"\0"),
        create(b"\0", b"\0"),
        create(b"k", b"\0"),
        create(b"k", b"k"),
        create(b"z", b"a"),
        etcd::WatchCreateRequest { start_revision: 2, ..create(b"k", b"l") },
        etcd::WatchCreateRequest { start_revision: 3, prev_kv: false, ..create(b"k", b"") },
        etcd::WatchCreateRequest { start_revision: 9, ..create(b"k", b"l") },
        etcd::WatchCreateRequest { start_revision: 2, filters: vec![0], ..create(b"k", b"l") },
        etcd::WatchCreateRequest { start_revision: 2, filters: vec![1], ..create(b"k", b"l") },
        etcd::WatchCreateRequest { start_revision: 2, filters: vec![0, 1], ..create(b"k", b"l") },
        etcd::WatchCreateRequest { watch_id: 5, ..create(b"k", b"l") },
        etcd::WatchCreateRequest { watch_id: 77, ..create(b"k", b"l") },
        etcd::WatchCreateRequest { watch_id: 77, ..create(b"k", b"l") },
        etcd::WatchCreateRequest { watch_id: -7, ..create(b"k", b"l") },
        etcd::WatchCreateRequest { fragment: true, start_revision: 1, ..create(b"k", b"l") },
        etcd::WatchCreateRequest { progress_notify: true, ..create(b"k", b"l") },
    ];
    for creation in creations {
        let place = format!("{creation:?}");
        watches.create(creation, &place).await;
    }
    let delete = etcd::DeleteRangeRequest { key: "k".into(), range_end: "l".into(), prev_kv: false };
    let puts = ["k", "k1", "k2"].map(|key| etcd::request_op::Request::RequestPut(put(key, "5")));
    let success = puts.map(|request| etcd::RequestOp { request: Some(request) }).to_vec();
    for step in [
        Step::Put(put("k", "4")),
        Step::Put(put("z", "4")),
        Step::Txn(etcd::TxnRequest { success, ..Default::default() }),
        Step::DeleteRange(delete),
    ] {
        pair.judge(&step, "watched").await;
    }
    // All that there is to tell, so that no cancellation comes before it.
    watches.settle(114, "watched").await;
    for watch_id in [77, 77, 1_000, 0, -1] {
        watches.ask(RequestUnion::CancelRequest(etcd::WatchCancelRequest { watch_id })).await;
    }
    watches.settle(0, "cancelled").await;
    watches.create(create(b"k", b"l"), "an id is given again").await;
    watches.ask(RequestUnion::ProgressRequest(etcd::WatchProgressRequest {})).await;
    pair.judge(&Step::Compact(etcd::CompactionRequest { revision: 7, physical: false }), "compacted").await;
    for start_revision in [1, 6, 7, 8] {
        let creation = etcd::WatchCreateRequest { start_revision, ..create(b"k", b"l") };
        watches.create(creation, &format!("compacted, from {start_revision}")).await;
    }
    // Fragments are another number of answers with the same events.
    let creation = etcd::WatchCreateRequest { fragment: true, ..create(b"large", b"larger") };
    watches.create(creation, "fragments").await;
    for number in 0..4 {
        pair.judge(&Step::Put(put("large", vec![b'0' + number; 1_000_000])), "large").await;
    }
    watches.settle(0, "large").await;
}

/// A stream on which many watches come while keys change. None goes and nothing is compacted here: etcd brings a watch of
/// the past up to date in turns of 100 ms, so what it still tells before either is a matter of time.
#[tokio::test(flavor = "multi_thread")]
async fn seeded_watches_are_told_the_same() {
    let mut pair = Pair::started().await;
    let mut watches = Watches::open(&pair).await;
    let mut generator = Generator::new(11);
    for step in 0..400 {
        let place = format!("step {step}");
        if generator.chance(15) {
            watches.create(generator.watch_creation(), &place).await;
        }
        pair.judge(&generator.change(), &place).await;
        generator.heed(&pair);
    }
    watches.settle(100, "the end").await;
}
