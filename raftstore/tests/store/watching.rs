//! Watches see every change once, in order, from any revision that is not compacted.

use std::collections::BTreeMap;

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::watch_client::WatchClient;
use keelson_wire::etcdserverpb::watch_request::RequestUnion;
use keelson_wire::store::call::Request as Asked;
use keelson_wire::store::{Call, PipelineRequest, ReadIndexRequest, answer, store_client::StoreClient};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::harness::{Cluster, Member, PATIENCE, put};

struct Watching {
    requests: mpsc::Sender<etcd::WatchRequest>,
    responses: Streaming<etcd::WatchResponse>,
}

impl Watching {
    async fn open(member: &Member) -> Self {
        let (requests, stream) = mpsc::channel(64);
        let mut client = WatchClient::new(member.channel().await).max_decoding_message_size(usize::MAX);
        let responses = client.watch(ReceiverStream::new(stream)).await.expect("a stream").into_inner();
        Self { requests, responses }
    }

    async fn ask(&self, request: RequestUnion) {
        self.requests.send(etcd::WatchRequest { request_union: Some(request) }).await.expect("asked");
    }

    async fn next(&mut self) -> etcd::WatchResponse {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await.expect("in time");
        next.expect("no error").expect("not ended")
    }
}

fn all(start_revision: i64) -> etcd::WatchCreateRequest {
    etcd::WatchCreateRequest {
        key: "k".into(),
        range_end: "l".into(),
        start_revision,
        prev_kv: true,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_from_now_and_from_the_past_see_the_same() {
    let cluster = Cluster::started(1);
    let mut kv = cluster.members[0].kv().await;
    let mut live = Watching::open(&cluster.members[0]).await;
    live.ask(RequestUnion::CreateRequest(all(0))).await;
    assert!(live.next().await.created);
    let writers = (0..8).map(|writer| {
        let mut kv = kv.clone();
        async move {
            for number in 0..60 {
                kv.put(put(&format!("k{writer}"), vec![b'a' + (number % 26) as u8; 3_000])).await.expect("put");
            }
        }
    });
    futures::future::join_all(writers).await;
    let last = kv.put(put("other", "x")).await.expect("put").into_inner().header.expect("a header").revision;

    let mut seen = Vec::new();
    while seen.len() < 480 {
        let response = live.next().await;
        seen.extend(response.events);
    }
    let revisions: Vec<i64> = seen.iter().map(|event| event.kv.as_ref().expect("a key").mod_revision).collect();
    assert_eq!(revisions, (2..last).collect::<Vec<_>>());
    // Each previous value is what the same watch saw before.
    let mut values: BTreeMap<_, _> = BTreeMap::new();
    for event in &seen {
        let kv = event.kv.clone().expect("a key");
        assert_eq!(event.prev_kv.as_ref().map(|previous| &previous.value), values.get(&kv.key));
        values.insert(kv.key, kv.value);
    }

    let mut past = Watching::open(&cluster.members[0]).await;
    past.ask(RequestUnion::CreateRequest(all(2))).await;
    past.ask(RequestUnion::CreateRequest(all(last - 10))).await;
    let mut of: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    while of.get(&0).map_or(0, Vec::len) < 480 || of.get(&1).map_or(0, Vec::len) < 10 {
        let response = past.next().await;
        let revisions = response.events.iter().map(|event| event.kv.as_ref().expect("a key").mod_revision);
        of.entry(response.watch_id).or_default().extend(revisions);
    }
    assert_eq!(of[&0], revisions);
    assert_eq!(of[&1], revisions[revisions.len() - 10..]);

    past.ask(RequestUnion::ProgressRequest(etcd::WatchProgressRequest {})).await;
    let progress = past.next().await;
    assert_eq!((progress.watch_id, progress.header.expect("a header").revision), (-1, last));

    kv.compact(etcd::CompactionRequest { revision: last - 5, physical: true }).await.expect("compacted");
    past.ask(RequestUnion::CreateRequest(all(3))).await;
    assert!(past.next().await.created);
    let cancelled = past.next().await;
    assert!(cancelled.canceled);
    assert_eq!(cancelled.compact_revision, last - 5);
    assert_eq!(cancelled.cancel_reason, "etcdserver: mvcc: required revision has been compacted");

    past.ask(RequestUnion::CancelRequest(etcd::WatchCancelRequest { watch_id: 0 })).await;
    let cancelled = past.next().await;
    assert_eq!((cancelled.watch_id, cancelled.canceled), (0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_not_read_holds_up_nobody_and_loses_nothing() {
    let cluster = Cluster::started(1);
    let mut kv = cluster.members[0].kv().await;
    let mut slow = Watching::open(&cluster.members[0]).await;
    slow.ask(RequestUnion::CreateRequest(all(0))).await;
    assert!(slow.next().await.created);
    // Far more than all windows, queues and the ring hold.
    for number in 0..60 {
        kv.put(put("k", vec![number; 500_000])).await.expect("put");
    }
    let mut revisions = Vec::new();
    while revisions.len() < 60 {
        let response = slow.next().await;
        revisions.extend(response.events.iter().map(|event| event.kv.as_ref().expect("a key").mod_revision));
    }
    assert_eq!(revisions, (2..62).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_answers_every_call_by_its_id() {
    let cluster = Cluster::started(1);
    let mut store = StoreClient::new(cluster.members[0].channel().await);
    let put_call = |id: u64| Call { id, request: Some(Asked::Put(put(&format!("k{id}"), "v"))), ..Call::default() };
    let mut calls: Vec<Call> = (1..=100).map(put_call).collect();
    calls.push(Call { id: 200, request: Some(Asked::Put(put("", "no key"))), ..Call::default() });
    let (requests, stream) = mpsc::channel(4);
    requests.send(PipelineRequest { calls }).await.expect("sent");
    let mut responses = store.pipeline(ReceiverStream::new(stream)).await.expect("a stream").into_inner();
    let mut answered = BTreeMap::new();
    while answered.len() < 101 {
        let response = responses.message().await.expect("no error").expect("not ended");
        answered.extend(response.answers.into_iter().map(|answer| (answer.id, answer.response)));
    }
    let Some(Some(answer::Response::Failure(failure))) = answered.remove(&200) else { panic!("no key was taken") };
    assert_eq!(failure.message, "etcdserver: key is not provided");
    let mut revisions: Vec<i64> = answered
        .into_values()
        .map(|answer| match answer {
            Some(answer::Response::Put(put)) => put.header.expect("a header").revision,
            other => panic!("{other:?}"),
        })
        .collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..102).collect::<Vec<_>>());
    let read = Call { id: 1, request: Some(Asked::ReadIndex(ReadIndexRequest {})), ..Call::default() };
    requests.send(PipelineRequest { calls: vec![read] }).await.expect("sent");
    let response = responses.message().await.expect("no error").expect("not ended");
    let Some(answer::Response::ReadIndex(index)) = &response.answers[0].response else { panic!() };
    assert_eq!(index.header.as_ref().expect("a header").revision, 101);
}
