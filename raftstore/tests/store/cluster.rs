//! Three members: leaders die, followers forward, members join, and nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keelson_wire::etcdserverpb as etcd;
use tokio::sync::Mutex;

use crate::harness::{Cluster, Member, get, prefix, put};

/// Writes numbers in order to a key of its own, to whichever member answers; remembers what was acknowledged.
async fn write(urls: Vec<String>, key: String, acknowledged: Arc<Mutex<BTreeMap<String, u64>>>, stop: Arc<AtomicBool>) {
    let mut number = 0_u64;
    let mut turn = key.len();
    while !stop.load(Ordering::Acquire) {
        number += 1;
        turn += 1;
        let url = urls[turn % urls.len()].clone();
        let endpoint = tonic::transport::Endpoint::from_shared(url).expect("a URL").timeout(Duration::from_secs(3));
        let Ok(channel) = endpoint.connect().await else { continue };
        let mut kv = etcd::kv_client::KvClient::new(channel);
        while kv.put(put(&key, number.to_string())).await.is_ok() {
            acknowledged.lock().await.insert(key.clone(), number);
            if stop.load(Ordering::Acquire) {
                return;
            }
            number += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_leaders_lose_nothing_that_was_acknowledged() {
    let mut cluster = Cluster::started(3);
    cluster.leader().await;
    let urls: Vec<String> = cluster.members.iter().map(Member::client_url).collect();
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|number| {
            let key = format!("writer{number}");
            tokio::spawn(write(urls.clone(), key, acknowledged.clone(), stop.clone()))
        })
        .collect();
    let total = |acknowledged: &BTreeMap<String, u64>| acknowledged.values().sum::<u64>();
    for _ in 0..3 {
        let before = total(&*acknowledged.lock().await);
        let leader = cluster.leader().await;
        cluster.members[leader].kill();
        // The two that are left go on.
        crate::harness_wait(|| async { total(&*acknowledged.lock().await) > before + 20 }).await;
        cluster.members[leader].start();
        cluster.members[leader].kv().await;
    }
    stop.store(true, Ordering::Release);
    for writer in writers {
        writer.await.expect("the writer ends");
    }
    let acknowledged = acknowledged.lock().await;
    for member in &cluster.members {
        let mut kv = member.kv().await;
        for (key, number) in acknowledged.iter() {
            let found = kv.range(get(key)).await.expect("read").into_inner();
            let value: u64 = String::from_utf8_lossy(&found.kvs[0].value).parse().expect("a number");
            // A write whose answer was lost may have been made after the last one that was acknowledged.
            assert!(value >= *number, "{} has {value} of {key}, but {number} was acknowledged", member.name);
        }
    }
    assert_equal_hashes(&cluster).await;
}

/// Entries that a leader sent on before its own disk had them are lost to it and not to the others: it must not use
/// their places again under the same term.
#[tokio::test(flavor = "multi_thread")]
async fn members_killed_together_agree_again_in_a_new_term() {
    let mut cluster = Cluster::started(3);
    let urls: Vec<String> = cluster.members.iter().map(Member::client_url).collect();
    let acknowledged = Arc::new(Mutex::new(BTreeMap::new()));
    for round in 0..4 {
        let leader = cluster.leader().await;
        let term = cluster.members[leader].term().await;
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..6)
            .map(|number| {
                let key = format!("round{round}writer{number}");
                tokio::spawn(write(urls.clone(), key, acknowledged.clone(), stop.clone()))
            })
            .collect();
        let own = |acknowledged: &BTreeMap<String, u64>| {
            let of_round = acknowledged.iter().filter(|(key, _)| key.starts_with(&format!("round{round}")));
            of_round.map(|(_, number)| *number).sum::<u64>()
        };
        crate::harness_wait(|| async { own(&*acknowledged.lock().await) > 60 }).await;
        cluster.members.iter_mut().for_each(Member::kill);
        stop.store(true, Ordering::Release);
        for writer in writers {
            writer.await.expect("the writer ends");
        }
        cluster.members.iter_mut().for_each(Member::start);
        let leader = cluster.leader().await;
        assert!(cluster.members[leader].term().await > term, "nobody goes on leading a term after a crash");
    }
    let acknowledged = acknowledged.lock().await;
    for member in &cluster.members {
        let mut kv = member.kv().await;
        for (key, number) in acknowledged.iter() {
            let found = kv.range(get(key)).await.expect("read").into_inner();
            let value: u64 = String::from_utf8_lossy(&found.kvs[0].value).parse().expect("a number");
            assert!(value >= *number, "{} has {value} of {key}, but {number} was acknowledged", member.name);
        }
    }
    assert_equal_hashes(&cluster).await;
}

async fn assert_equal_hashes(cluster: &Cluster) {
    let mut hashes = Vec::new();
    let mut revision = 0;
    for member in &cluster.members {
        let mut kv = member.kv().await;
        // A linearizable read brings the member up to date.
        let read = kv.range(get("nothing")).await.expect("read").into_inner();
        if revision == 0 {
            revision = read.header.expect("a header").revision;
        }
        let mut maintenance = etcd::maintenance_client::MaintenanceClient::new(member.channel().await);
        let hash = maintenance.hash_kv(etcd::HashKvRequest { revision }).await.expect("a hash").into_inner();
        hashes.push(hash.hash);
    }
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_takes_writes_and_reads_them_back() {
    let cluster = Cluster::started(3);
    cluster.leader().await;
    for (number, member) in cluster.members.iter().enumerate() {
        let mut kv = member.kv().await;
        let key = format!("key{number}");
        kv.put(put(&key, "value")).await.expect("put");
        // The member that took the write has it at once, also for reads that ask nobody.
        let read = etcd::RangeRequest { serializable: true, ..get(&key) };
        assert_eq!(kv.range(read).await.expect("read").into_inner().count, 1);
    }
    for member in &cluster.members {
        let mut kv = member.kv().await;
        assert_eq!(kv.range(prefix("key")).await.expect("read").into_inner().count, 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_survive_a_change_of_leader_and_end_after_it() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.leader().await;
    let mut lease = etcd::lease_client::LeaseClient::new(cluster.members[leader].channel().await);
    let granted = lease.lease_grant(etcd::LeaseGrantRequest { ttl: 2, id: 77 }).await.expect("granted").into_inner();
    assert_eq!((granted.id, granted.ttl), (77, 2));
    let mut kv = cluster.members[leader].kv().await;
    kv.put(etcd::PutRequest { lease: 77, ..put("leased", "x") }).await.expect("put");
    cluster.members[leader].kill();
    let other = cluster.leader().await;
    let mut kv = cluster.members[other].kv().await;
    crate::harness_wait(|| {
        let mut kv = kv.clone();
        async move { kv.range(get("leased")).await.is_ok_and(|found| found.into_inner().count == 0) }
    })
    .await;
    assert_eq!(kv.range(get("leased")).await.expect("read").into_inner().count, 0);
}

/// A member alone whose log does not have its first entries any more, and one that is added to it and must be sent a
/// snapshot with 300 values of `bytes` bytes.
async fn adds_one_that_needs_a_snapshot(
    bytes: usize,
    through: impl AsyncFnOnce(&Member) -> Option<SocketAddr>,
) -> (Cluster, Member, u64) {
    let mut cluster = Cluster::new(1);
    let metrics = SocketAddr::from((crate::harness::own_loopback(), crate::harness::own_port()));
    let flags = ["--snapshot-count=100", "--snapshot-catchup-entries=20"].map(str::to_owned);
    cluster.members[0].flags.extend(flags);
    cluster.members[0].flags.push(format!("--listen-metrics-urls=http://{metrics}"));
    cluster.members[0].start();
    let mut kv = cluster.members[0].kv().await;
    for number in 0..300 {
        kv.put(put(&format!("key{number:03}"), vec![b'v'; bytes])).await.expect("put");
    }
    crate::harness_wait(|| async {
        Member::metric(metrics, "keelson_raftstore_log_purged").await.is_some_and(|index| index > 0.0)
    })
    .await;
    let mut joiner = Member::new("joiner", cluster.directory.path().join("joiner"));
    joiner.proxy = through(&joiner).await;
    let mut members = etcd::cluster_client::ClusterClient::new(cluster.members[0].channel().await);
    let add = etcd::MemberAddRequest { peer_ur_ls: vec![joiner.peer_url()], is_learner: true };
    let added = members.member_add(add).await.expect("added").into_inner();
    let initial = format!("m1={},joiner={}", cluster.members[0].peer_url(), joiner.peer_url());
    joiner.flags = ["--initial-cluster", &initial, "--initial-cluster-state", "existing"].map(str::to_owned).to_vec();
    joiner.start();
    (cluster, joiner, added.member.expect("the member").id)
}

/// Waits until the member has the 300 values.
async fn has_all(joiner: &Member, bytes: usize) {
    let joined = joiner.kv().await;
    let read = etcd::RangeRequest { serializable: true, ..prefix("key") };
    crate::harness_wait(|| {
        let (mut kv, read) = (joined.clone(), read.clone());
        async move {
            kv.range(read).await.is_ok_and(|found| {
                let kvs = found.into_inner().kvs;
                kvs.len() == 300 && kvs.iter().all(|pair| pair.value.len() == bytes)
            })
        }
    })
    .await;
}

/// As [`adds_one_that_needs_a_snapshot`], and it has it.
async fn one_that_needs_a_snapshot(
    bytes: usize,
    through: impl AsyncFnOnce(&Member) -> Option<SocketAddr>,
) -> (Cluster, Member, u64) {
    let added = adds_one_that_needs_a_snapshot(bytes, through).await;
    has_all(&added.1, bytes).await;
    added
}

fn log_of(member: &Member) -> String {
    std::fs::read_to_string(member.data_dir.with_extension("log")).expect("its log")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_joins_by_snapshot_and_a_member_leaves() {
    let (mut cluster, mut joiner, id) = one_that_needs_a_snapshot(2_000, async |_| None).await;
    assert!(log_of(&joiner).contains("snapshot installed"));
    let mut members = etcd::cluster_client::ClusterClient::new(cluster.members[0].channel().await);
    members.member_promote(etcd::MemberPromoteRequest { id }).await.expect("promoted");
    joiner.kv().await.put(put("from-the-new-one", "x")).await.expect("put");
    let listed = members.member_list(etcd::MemberListRequest { linearizable: true }).await.expect("listed");
    assert_eq!(listed.into_inner().members.iter().filter(|member| !member.is_learner).count(), 2);
    members.member_remove(etcd::MemberRemoveRequest { id }).await.expect("removed");
    joiner.kill();
    cluster.members[0].kv().await.put(put("alone-again", "x")).await.expect("put");
    cluster.members[0].kill();
}

/// Forwards connections, and cuts each one after so many bytes to the target.
async fn proxy_that_cuts(target: SocketAddr, after: u64) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind((crate::harness::own_loopback(), 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(server) = tokio::net::TcpStream::connect(target).await else { return };
                let (from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let mut from_client = tokio::io::AsyncReadExt::take(from_client, after);
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                    _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
                }
            });
        }
    });
    address
}

/// Lets so many bytes through to the target, of all connections, and counts them.
struct Gate {
    open_for: AtomicU64,
    carried: AtomicU64,
}

async fn gated_proxy(target: SocketAddr, gate: Arc<Gate>) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind((crate::harness::own_loopback(), 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let gate = gate.clone();
            tokio::spawn(async move {
                let Ok(server) = tokio::net::TcpStream::connect(target).await else { return };
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let there = async {
                    let mut buffer = vec![0; 16 << 10];
                    loop {
                        while gate.carried.load(Ordering::Acquire) >= gate.open_for.load(Ordering::Acquire) {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                        let Ok(count @ 1..) = from_client.read(&mut buffer).await else { return };
                        gate.carried.fetch_add(count as u64, Ordering::AcqRel);
                        if to_server.write_all(&buffer[..count]).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = there => {}
                    _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_on_where_its_connection_broke() {
    // 9 MB over connections of which none carries more than 3.
    let through = async |joiner: &Member| Some(proxy_that_cuts(joiner.peer_address(), 3 << 20).await);
    let (_cluster, joiner, _) = one_that_needs_a_snapshot(30_000, through).await;
    let log = log_of(&joiner);
    assert!(log.contains("a snapshot goes on where it was broken off"), "{log}");
    assert_eq!(log.matches("snapshot installed").count(), 1, "{log}");
}

/// Bytes on the disk below a directory.
fn size_of(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => size_of(&entry.path()),
        _ => entry.metadata().map_or(0, |metadata| metadata.blocks() * 512),
    };
    entries.flatten().map(size).sum()
}

/// The receiver is killed in the middle, and stays away for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_goes_on_where_its_receiver_was_killed() {
    const BYTES: u64 = 300 * 30_000;
    let gate = Arc::new(Gate { open_for: AtomicU64::new(5 << 20), carried: AtomicU64::new(0) });
    let (mut cluster, mut joiner, _) = adds_one_that_needs_a_snapshot(30_000, async |joiner| {
        Some(gated_proxy(joiner.peer_address(), gate.clone()).await)
    })
    .await;
    // sled takes some 12 MB for what comes up to the gate, and has the last of it in its buffers.
    let received = joiner.data_dir.join("state-2");
    crate::harness_wait(|| async { size_of(&received) > 8 << 20 }).await;
    joiner.kill();
    let before = gate.carried.load(Ordering::Acquire);
    // Whoever sends to a member that is away waits for it.
    tokio::time::sleep(Duration::from_secs(2)).await;
    gate.open_for.store(u64::MAX, Ordering::Release);
    joiner.start();
    has_all(&joiner, 30_000).await;
    let after = gate.carried.load(Ordering::Acquire) - before;
    let log = log_of(&joiner);
    assert!(log.contains("a snapshot goes on where it was broken off"), "{log}");
    assert_eq!(log.matches("snapshot installed").count(), 1, "{log}");
    assert!(after < BYTES - (1 << 20), "{after} bytes came after the restart, of {BYTES}");
    // What it has is what the sender has.
    let (mut hashes, mut revision) = (Vec::new(), 0);
    for member in [&cluster.members[0], &joiner] {
        let mut kv = member.kv().await;
        let read = etcd::RangeRequest { serializable: true, ..get("nothing") };
        let header = kv.range(read).await.expect("read").into_inner().header.expect("a header");
        revision = if revision == 0 { header.revision } else { revision };
        let mut maintenance = etcd::maintenance_client::MaintenanceClient::new(member.channel().await);
        let hash = maintenance.hash_kv(etcd::HashKvRequest { revision }).await.expect("a hash").into_inner();
        hashes.push(hash.hash);
    }
    assert_eq!(hashes[0], hashes[1]);
    // Another restart finds a state like any other, and nothing beside it.
    joiner.kill();
    joiner.start();
    has_all(&joiner, 30_000).await;
    assert!(!joiner.data_dir.join("state-1").exists());
    cluster.members[0].kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founding_member_that_lost_its_data_is_told_from_one_that_is_late() {
    let mut cluster = Cluster::new(3);
    // A quorum of the founders is enough to begin.
    cluster.members[0].start();
    cluster.members[1].start();
    cluster.members[0].kv().await.put(put("k", "v")).await.expect("a quorum");
    // Late, and new: it takes part.
    cluster.members[2].start();
    let kept = cluster.members[2].kv().await.range(get("k")).await.expect("a linearizable read").into_inner();
    assert_eq!(kept.kvs[0].value, "v");
    let mut members = etcd::cluster_client::ClusterClient::new(cluster.members[0].channel().await);
    let lists = || async {
        let mut members = members.clone();
        let list = members.member_list(etcd::MemberListRequest { linearizable: true }).await.expect("a list");
        list.into_inner().members
    };
    crate::harness_wait(|| async { lists().await.iter().all(|member| !member.client_ur_ls.is_empty()) }).await;

    cluster.members[2].kill();
    let data = cluster.members[2].data_dir.clone();
    std::fs::remove_dir_all(&data).expect("its data");
    // The same flags and the same id, and what it voted and stored is gone.
    cluster.members[2].start();
    let log = cluster.members[2].fails().await;
    assert!(log.contains("has already been bootstrapped, and its data is gone"), "{log}");
    assert!(!data.exists(), "a refused member leaves nothing behind");
    // Also by the word of one that has no quorum.
    cluster.members[0].kill();
    cluster.members[2].start();
    cluster.members[2].fails().await;
    cluster.members[0].start();
    cluster.members[0].kv().await;

    // As the message says.
    let gone = lists().await.into_iter().find(|member| member.name == "m3").expect("it is listed");
    members.member_remove(etcd::MemberRemoveRequest { id: gone.id }).await.expect("it is removed");
    let peer_ur_ls = vec![cluster.members[2].peer_url()];
    members.member_add(etcd::MemberAddRequest { peer_ur_ls, is_learner: false }).await.expect("it is added");
    cluster.members[2].flags.extend(["--initial-cluster-state", "existing"].map(str::to_owned));
    cluster.members[2].start();
    let kept = cluster.members[2].kv().await.range(get("k")).await.expect("a linearizable read").into_inner();
    assert_eq!(kept.kvs[0].value, "v");
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_not_handed_to_a_member_that_is_down() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.leader().await;
    let term = cluster.members[leader].term().await;
    let down = (leader + 1) % 3;
    let mut maintenance = etcd::maintenance_client::MaintenanceClient::new(cluster.members[down].channel().await);
    let status = maintenance.status(etcd::StatusRequest {}).await.expect("a status").into_inner();
    let target_id = status.header.expect("a header").member_id;
    cluster.members[down].kill();
    let mut maintenance = etcd::maintenance_client::MaintenanceClient::new(cluster.members[leader].channel().await);
    let refused = maintenance.move_leader(etcd::MoveLeaderRequest { target_id }).await.expect_err("it is down");
    assert_eq!(refused.message(), "etcdserver: request timed out");
    // Nothing has changed: it leads, in its term, and takes writes.
    cluster.members[leader].kv().await.put(put("k", "v")).await.expect("a write");
    assert_eq!((cluster.leader().await, cluster.members[leader].term().await), (leader, term));
}
