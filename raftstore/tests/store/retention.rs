//! What goes without being asked for: history by its age or its number, and the log behind what was checkpointed.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::kv_client::KvClient;
use tonic::transport::Channel;

use crate::harness::{Cluster, Member, get, prefix, put};

async fn written(kv: &mut KvClient<Channel>, key: &str, bytes: usize) -> i64 {
    let put = kv.put(put(key, vec![b'v'; bytes])).await.expect("put").into_inner();
    put.header.expect("a header").revision
}

/// Whether the revision can be read; of this member alone.
async fn is_there(kv: &mut KvClient<Channel>, revision: i64) -> bool {
    let read = etcd::RangeRequest { revision, serializable: true, ..get("key") };
    match kv.range(read).await {
        Ok(found) => {
            assert_eq!(found.into_inner().kvs[0].mod_revision, revision);
            true
        }
        Err(refusal) => {
            assert_eq!(refusal.message(), "etcdserver: mvcc: required revision has been compacted");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_revisions_is_kept_and_older_ones_go() {
    let mut cluster = Cluster::new(3);
    for member in &mut cluster.members {
        member.flags.extend(["--auto-compaction-mode=revision", "--auto-compaction-retention=50"].map(str::to_owned));
        member.start();
    }
    let leader = cluster.leader().await;
    let mut kv = cluster.members[leader].kv().await;
    let mut newest = 0;
    for _ in 0..200 {
        newest = written(&mut kv, "key", 10_000).await;
    }
    for member in &cluster.members {
        let mut kv = member.kv().await;
        // In steps of a tenth of what is kept: of six more than that, one at least has gone.
        crate::harness_wait(|| {
            let mut kv = kv.clone();
            async move { !is_there(&mut kv, newest - 56).await }
        })
        .await;
        for revision in newest - 50..=newest {
            assert!(is_there(&mut kv, revision).await, "{} has not kept revision {revision}", member.name);
        }
        // And from the disk: of 2 MB half a megabyte is left, and what a step takes.
        crate::harness_wait(|| async {
            let mut maintenance = etcd::maintenance_client::MaintenanceClient::new(member.channel().await);
            let status = maintenance.status(etcd::StatusRequest {}).await.expect("a status").into_inner();
            status.db_size_in_use < 600_000
        })
        .await;
    }
}

/// Leadership goes round all the while, faster than the time passes: whoever comes to lead knows what is old.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_history_is_kept_and_older_goes_whoever_leads() {
    const KEPT: Duration = Duration::from_secs(3);
    let mut cluster = Cluster::new(3);
    for member in &mut cluster.members {
        member.flags.push(format!("--auto-compaction-retention={}s", KEPT.as_secs()));
        member.start();
    }
    let mut kvs = Vec::new();
    let mut ids = Vec::new();
    for member in &cluster.members {
        kvs.push(member.kv().await);
        let mut maintenance = etcd::maintenance_client::MaintenanceClient::new(member.channel().await);
        let status = maintenance.status(etcd::StatusRequest {}).await.expect("a status").into_inner();
        ids.push(status.header.expect("a header").member_id);
    }
    let leader = cluster.leader().await;
    let first = written(&mut kvs[leader], "key", 10).await;
    // Each revision, and the moment before which the next one was not there: so long it was the newest.
    let mut history: Vec<(i64, Instant)> = Vec::new();
    let mut newest = first;
    let (mut has_gone, mut was_kept) = (false, 0);
    let started = Instant::now();
    while !has_gone {
        assert!(started.elapsed() < crate::harness::PATIENCE, "what is old is kept");
        let leader = cluster.leader().await;
        let next = (leader + 1) % 3;
        let mut maintenance = etcd::maintenance_client::MaintenanceClient::new(cluster.members[leader].channel().await);
        // Refused when an election came before it.
        let _ = maintenance.move_leader(etcd::MoveLeaderRequest { target_id: ids[next] }).await;
        for _ in 0..5 {
            history.push((newest, Instant::now()));
            let put = kvs[next].put(put("key", "value")).await;
            newest = put.map_or(newest, |put| put.into_inner().header.expect("a header").revision);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for (revision, was_newest) in &history {
            if is_there(&mut kvs[next], *revision).await {
                was_kept += usize::from(has_gone);
            } else {
                // However slow this test is, nothing goes before its time.
                assert!(was_newest.elapsed() >= KEPT, "revision {revision} went too soon");
                has_gone = true;
            }
        }
    }
    assert!(was_kept > 0, "what is young was kept when the old went");
}

fn files_of_the_log(data_dir: &Path) -> usize {
    std::fs::read_dir(data_dir.join("log")).expect("its log").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_files_go_behind_a_checkpoint_and_all_is_there() {
    let mut cluster = Cluster::new(1);
    let member = &mut cluster.members[0];
    member.flags.extend(["--snapshot-count=24", "--snapshot-catchup-entries=2"].map(str::to_owned));
    member.start();
    let mut kv = member.kv().await;
    // Seven to a file. Between two turns of the housekeeping the log may grow to any size; then it goes to what is kept.
    for number in 0..60 {
        written(&mut kv, &format!("key{number:03}"), 1 << 20).await;
    }
    // Less than 24 entries that are not checkpointed and four that may stay behind them, and the spare file.
    let is_small = async |member: &Member| {
        crate::harness_wait(|| async { files_of_the_log(&member.data_dir) <= 6 }).await;
    };
    is_small(member).await;
    // Each life alone writes too little for a checkpoint, and each is ended while files may go.
    for _ in 0..4 {
        member.kill();
        member.start();
        let mut kv = member.kv().await;
        for number in 0..60 {
            let found = kv.range(get(&format!("key{number:03}"))).await.expect("read").into_inner();
            assert_eq!(found.kvs[0].value.len(), 1 << 20, "key{number:03}");
        }
        for _ in 0..20 {
            written(&mut kv, "again", 1 << 20).await;
        }
    }
    is_small(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_what_one_needs_that_was_away_shortly() {
    let mut cluster = Cluster::new(3);
    let metrics: Vec<SocketAddr> =
        (0..3).map(|_| (crate::harness::own_loopback(), crate::harness::own_port()).into()).collect();
    for (member, metrics) in cluster.members.iter_mut().zip(&metrics) {
        member.flags.extend(["--snapshot-count=100", "--snapshot-catchup-entries=400"].map(str::to_owned));
        member.flags.push(format!("--listen-metrics-urls=http://{metrics}"));
        member.start();
    }
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    let kv = cluster.members[leader].kv().await;
    let write = async |count: usize| {
        let mut last = 0;
        for number in 0..count / 50 {
            let together = (0..50).map(|one| {
                let mut kv = kv.clone();
                async move { written(&mut kv, &format!("key{number:03}{one:02}"), 100).await }
            });
            last = futures::future::join_all(together).await.into_iter().max().unwrap_or_default();
        }
        last
    };
    let purged = async |member: usize, index: f64| {
        crate::harness_wait(|| async {
            Member::metric(metrics[member], "keelson_raftstore_log_purged").await.is_some_and(|purged| purged >= index)
        })
        .await;
    };
    let catches_up = async |member: &Member, revision: i64| {
        let kv = member.kv().await;
        crate::harness_wait(|| {
            let mut kv = kv.clone();
            async move {
                let read = etcd::RangeRequest { serializable: true, limit: 1, ..prefix("key") };
                let read = kv.range(read).await.expect("read").into_inner();
                read.header.expect("a header").revision >= revision
            }
        })
        .await;
        let log = std::fs::read_to_string(member.data_dir.with_extension("log")).expect("its log");
        log.matches("snapshot installed").count()
    };
    write(1_500).await;
    purged(leader, 750.0).await;
    cluster.members[away].kill();
    let newest = write(300).await;
    purged(leader, 1_000.0).await;
    cluster.members[away].start();
    assert_eq!(catches_up(&cluster.members[away], newest).await, 0, "the log had what it lacked");
    cluster.members[away].kill();
    let newest = write(1_500).await;
    purged(leader, 2_500.0).await;
    cluster.members[away].start();
    assert_eq!(catches_up(&cluster.members[away], newest).await, 1, "the log no longer had what it lacked");
}
