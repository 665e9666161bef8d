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

    /// One watch of each key, asked for without waiting for the answers.
    async fn create(&mut self, keys: Vec<String>) {
        let (requests, count) = (self.requests.clone(), keys.len());
        tokio::spawn(async move {
            for key in keys {
                let create = etcd::WatchCreateRequest { key: key.into(), ..Default::default() };
                let request_union = Some(RequestUnion::CreateRequest(create));
                requests.send(etcd::WatchRequest { request_union }).await.expect("asked");
            }
        });
        for _ in 0..count {
            assert!(self.next().await.created);
        }
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

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_watches_of_one_connection_each_see_their_own() {
    const WATCHES: i64 = 10_000;
    let cluster = Cluster::started(1);
    let mut kv = cluster.members[0].kv().await;
    let mut flood = Watching::open(&cluster.members[0]).await;
    flood.create((0..WATCHES).map(|number| format!("k/{number}")).collect()).await;
    // One that all of them wait for, and then one of each.
    for number in [0, WATCHES / 2, WATCHES - 1] {
        kv.put(put(&format!("k/{number}"), "1")).await.expect("put");
        let response = flood.next().await;
        assert_eq!((response.watch_id, response.events.len()), (number, 1));
    }
    flood.create(vec!["s".to_owned(); WATCHES as usize]).await;
    kv.put(put("s", "for all")).await.expect("put");
    let mut told = std::collections::BTreeSet::new();
    for _ in 0..WATCHES {
        let response = flood.next().await;
        assert_eq!(response.events.len(), 1);
        assert!(told.insert(response.watch_id), "watch {} is told twice", response.watch_id);
    }
    assert_eq!((told.first(), told.last()), (Some(&WATCHES), Some(&(2 * WATCHES - 1))));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_no_answers_is_given_up_with_a_reason_and_can_go_on_behind_them() {
    let mut cluster = Cluster::new(1);
    cluster.members[0].flags.push("--watch-stall-timeout=100ms".to_owned());
    cluster.members[0].start();
    let member = &cluster.members[0];
    let mut kv = member.kv().await;
    let mut slow = Watching::open(member).await;
    slow.ask(RequestUnion::CreateRequest(all(0))).await;
    assert!(slow.next().await.created);
    let mut lively = Watching::open(member).await;
    lively.ask(RequestUnion::CreateRequest(all(0))).await;
    assert!(lively.next().await.created);
    // Far more than HTTP/2 lets through unread.
    const PUTS: i64 = 64;
    for number in 0..PUTS {
        kv.put(put(&format!("k{number}"), vec![b'x'; 1 << 20])).await.expect("put");
        let mut seen = 0;
        while seen == 0 {
            seen = lively.next().await.events.len();
        }
    }
    let log = member.data_dir.with_extension("log");
    let given_up = || async { std::fs::read_to_string(&log).is_ok_and(|log| log.contains("takes no answers")) };
    crate::harness_wait(given_up).await;
    // It reads on: what was on its way, then the reason.
    let mut last = 1;
    let reason = loop {
        match slow.responses.message().await {
            Ok(Some(response)) => {
                for event in response.events {
                    let revision = event.kv.expect("a key").mod_revision;
                    assert_eq!(revision, last + 1);
                    last = revision;
                }
            }
            Ok(None) => panic!("it ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason.code(), tonic::Code::ResourceExhausted, "{reason}");
    assert!(reason.message().contains("the client took no answer for 100ms"), "{reason}");
    assert!(last < 1 + PUTS);
    let mut again = Watching::open(member).await;
    again.ask(RequestUnion::CreateRequest(all(last + 1))).await;
    while last < 1 + PUTS {
        for event in again.next().await.events {
            let revision = event.kv.expect("a key").mod_revision;
            assert_eq!(revision, last + 1);
            last = revision;
        }
    }
}
