//! Backups restored into new clusters, and the survivor of a lost quorum as a cluster of one: by the binary, as an
//! operator runs it.

use std::path::Path;
use std::process::{Command, Output};

use futures::StreamExt as _;
use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::cluster_client::ClusterClient;
use keelson_wire::etcdserverpb::maintenance_client::MaintenanceClient;

use crate::harness::{Cluster, Member, get, prefix, put};

fn raftstore(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_raftstore")).args(words).output().expect("it runs")
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

async fn cluster_id(member: &Member) -> u64 {
    let mut members = ClusterClient::new(member.channel().await);
    let listed = members.member_list(etcd::MemberListRequest { linearizable: false }).await.expect("listed");
    listed.into_inner().header.expect("a header").cluster_id
}

async fn save(member: &Member, path: &Path) {
    let mut maintenance = MaintenanceClient::new(member.channel().await);
    let mut blobs = maintenance.snapshot(etcd::SnapshotRequest {}).await.expect("a backup").into_inner();
    let mut bytes = Vec::new();
    while let Some(blob) = blobs.next().await {
        bytes.extend_from_slice(&blob.expect("a blob").blob);
    }
    assert_eq!(bytes.len() % 512, 32, "by which etcdctl finds the sum");
    std::fs::write(path, bytes).expect("written");
}

/// Where the state is in the data directory.
fn member_file(member: &Member) -> std::path::PathBuf {
    member.data_dir.join("member.json")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_becomes_a_new_cluster_and_time_does_not_run_backwards() {
    let mut cluster = Cluster::started(1);
    let mut kv = cluster.members[0].kv().await;
    for number in 0..50 {
        kv.put(put(&format!("key{number:02}"), vec![b'v'; 3_000])).await.expect("put");
    }
    let backup = cluster.directory.path().join("backup");
    save(&cluster.members[0], &backup).await;
    let old_id = cluster_id(&cluster.members[0]).await;
    let later = kv.put(put("later", "x")).await.expect("put").into_inner().header.expect("a header").revision;
    cluster.members[0].kill();
    assert!(succeeded(&raftstore(&["snapshot", "status", text(&backup)])).contains(" 51 "), "the revision");

    let mut restored = Cluster::new(3);
    let initial = restored.members[0].flags[1].clone();
    let restore = |file: &Path, member: &Member| {
        let (name, directory) = (member.name.as_str(), text(&member.data_dir));
        let words = ["snapshot", "restore", text(file), "--name", name, "--data-dir", directory];
        let more = ["--initial-cluster", &initial, "--bump-revision", "1000000", "--mark-compacted"];
        raftstore(&[words.as_slice(), more.as_slice()].concat())
    };
    let bytes = std::fs::read(&backup).expect("read");
    for (damage, damaged) in [
        ("cut", bytes[..bytes.len() - 70_000].to_vec()),
        ("flipped", {
            let mut flipped = bytes.clone();
            flipped[bytes.len() / 2] ^= 1;
            flipped
        }),
    ] {
        let file = cluster.directory.path().join(damage);
        std::fs::write(&file, damaged).expect("written");
        let message = refused(&restore(&file, &restored.members[0]));
        assert!(message.contains("damaged or was cut short"), "{message}");
        assert!(!restored.members[0].data_dir.exists(), "nothing was begun");
    }
    for member in &restored.members {
        succeeded(&restore(&backup, member));
    }
    let message = refused(&restore(&backup, &restored.members[0]));
    assert!(message.contains("needs an empty directory"), "{message}");
    restored.members.iter_mut().for_each(Member::start);
    restored.leader().await;
    for member in &restored.members {
        let found = member.kv().await.range(prefix("key")).await.expect("read").into_inner();
        assert_eq!(found.count, 50);
        assert_eq!(found.kvs[0].mod_revision, 2, "revisions of keys are kept");
        assert!(found.header.expect("a header").revision > later + 900_000);
    }
    assert_ne!(cluster_id(&restored.members[0]).await, old_id);
    let mut kv = restored.members[0].kv().await;
    let old = etcd::RangeRequest { revision: later, ..get("key01") };
    assert!(kv.range(old).await.expect_err("compacted").message().contains("has been compacted"));
    kv.put(put("goes-on", "x")).await.expect("put");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_was_cut_short_is_no_member_and_begins_anew() {
    let mut cluster = Cluster::started(1);
    cluster.members[0].kv().await.put(put("key", "value")).await.expect("put");
    let backup = cluster.directory.path().join("backup");
    save(&cluster.members[0], &backup).await;
    cluster.members[0].kill();
    let mut restored = Cluster::new(1);
    let directory = restored.members[0].data_dir.clone();
    // What a crash before the last step leaves.
    std::fs::create_dir_all(directory.join("state-1")).expect("made");
    std::fs::write(directory.join("restore-unfinished"), "").expect("written");
    let message = refused(&raftstore(&["--name", "m1", "--data-dir", text(&directory)]));
    assert!(message.contains("run the restore again"), "{message}");
    let initial = restored.members[0].flags[1].clone();
    let words = ["snapshot", "restore", text(&backup), "--name", "m1", "--data-dir", text(&directory)];
    succeeded(&raftstore(&[words.as_slice(), &["--initial-cluster", &initial]].concat()));
    restored.members[0].start();
    let found = restored.members[0].kv().await.range(get("key")).await.expect("read").into_inner();
    assert_eq!(found.count, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_survivor_of_a_lost_quorum_keeps_everything_and_cannot_become_a_second_cluster() {
    let mut cluster = Cluster::started(3);
    let leader = cluster.leader().await;
    let mut kv = cluster.members[leader].kv().await;
    for number in 0..100 {
        kv.put(put(&format!("key{number:03}"), "value")).await.expect("put");
    }
    let old_id = cluster_id(&cluster.members[leader]).await;
    let directory = text(&cluster.members[leader].data_dir).to_owned();
    let recover = || raftstore(&["recover", "--data-dir", &directory]);
    let message = refused(&recover());
    assert!(message.contains("stop it first"), "{message}");
    cluster.members[leader].kill();
    let message = refused(&recover());
    assert!(message.contains("Start this member as before"), "{message}");
    let before = std::fs::read(member_file(&cluster.members[leader])).expect("read");
    cluster.members.iter_mut().for_each(Member::kill);
    assert_eq!(std::fs::read(member_file(&cluster.members[leader])).expect("read"), before, "nothing was changed");

    let message = succeeded(&recover());
    assert!(message.contains("member add"), "{message}");
    // Started with the flags that it always had.
    cluster.members[leader].start();
    let mut kv = cluster.members[leader].kv().await;
    assert_eq!(kv.range(prefix("key")).await.expect("read").into_inner().count, 100);
    kv.put(put("after", "x")).await.expect("it is a cluster of its own");
    assert_ne!(cluster_id(&cluster.members[leader]).await, old_id);

    // An old member that comes back has no part in it, and alone it serves nobody.
    let back = (leader + 1) % 3;
    let log = cluster.members[back].data_dir.with_extension("log");
    let served = |log: &Path| std::fs::read_to_string(log).expect("a log").matches("ready for clients").count();
    let before = served(&log);
    cluster.members[back].start();
    let members = ClusterClient::new(cluster.members[leader].channel().await)
        .member_list(etcd::MemberListRequest { linearizable: true })
        .await
        .expect("listed")
        .into_inner()
        .members;
    assert_eq!(members.len(), 1);

    // It grows again, and is there after a crash.
    let mut joiner = Member::new("joiner", cluster.directory.path().join("joiner"));
    let mut client = ClusterClient::new(cluster.members[leader].channel().await);
    let add = etcd::MemberAddRequest { peer_ur_ls: vec![joiner.peer_url()], is_learner: true };
    client.member_add(add).await.expect("added");
    let initial = format!("x={},joiner={}", cluster.members[leader].peer_url(), joiner.peer_url());
    joiner.flags = ["--initial-cluster", &initial, "--initial-cluster-state", "existing"].map(str::to_owned).to_vec();
    joiner.start();
    let read = etcd::RangeRequest { serializable: true, ..prefix("key") };
    let joined = joiner.kv().await;
    crate::harness_wait(|| {
        let (mut kv, read) = (joined.clone(), read.clone());
        async move { kv.range(read).await.is_ok_and(|found| found.into_inner().count == 100) }
    })
    .await;
    cluster.members[leader].kill();
    cluster.members[leader].start();
    let mut kv = cluster.members[leader].kv().await;
    assert_eq!(kv.range(get("after")).await.expect("read").into_inner().count, 1);
    assert_eq!(served(&log), before);
}
