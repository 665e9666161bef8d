//! The wall clock jumps, another way on each machine, and nothing depends on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::lease_client::LeaseClient;

use crate::harness::{Cluster, Member, get, put};

/// Debian: libfaketime.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("it is there").flatten();
    let found = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    found.expect("libfaketime is installed (Debian: libfaketime)")
}

fn clock_file(member: &Member) -> PathBuf {
    member.data_dir.with_extension("clock")
}

fn set_clock(member: &Member, offset: &str) {
    let path = clock_file(member);
    let draft = path.with_extension("draft");
    std::fs::write(&draft, offset).expect("written");
    std::fs::rename(draft, path).expect("renamed");
}

fn with_a_clock_of_its_own(member: &mut Member, library: &Path) {
    set_clock(member, "+0d");
    member.wrapper = vec![
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", clock_file(member).display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        // The time since the start does not jump: it is the kernel's.
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
}

/// YYYY-MM-DD, so many days ago.
fn day(ago: u32) -> String {
    let said = Command::new("date").args(["-u", "-d", &format!("{ago} days ago"), "+%F"]).output().expect("date runs");
    String::from_utf8(said.stdout).expect("text").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_end_no_lease_and_lose_nothing() {
    let library = library();
    let mut cluster = Cluster::new(3);
    cluster.members.iter_mut().for_each(|member| with_a_clock_of_its_own(member, &library));
    cluster.members.iter_mut().for_each(Member::start);
    let leader = cluster.leader().await;
    let mut kv = cluster.members[leader].kv().await;
    let mut leases = LeaseClient::new(cluster.members[leader].channel().await);
    for id in [1, 2] {
        leases.lease_grant(etcd::LeaseGrantRequest { ttl: 2, id }).await.expect("granted");
        kv.put(etcd::PutRequest { lease: id, ..put(&format!("leased{id}"), "x") }).await.expect("put");
    }
    // The leader's clock goes back, another one goes ahead.
    let (back, ahead) = (leader, (leader + 1) % 3);
    set_clock(&cluster.members[back], "-2d");
    set_clock(&cluster.members[ahead], "+3d");
    let (renew, renewals) = tokio::sync::mpsc::channel(1);
    let mut answers = leases
        .lease_keep_alive(tokio_stream::wrappers::ReceiverStream::new(renewals))
        .await
        .expect("a stream")
        .into_inner();
    // One is kept alive until the other has ended: no sooner and no later by a clock's word.
    let mut turns = 0;
    while kv.range(get("leased2")).await.expect("read").into_inner().count > 0 {
        renew.send(etcd::LeaseKeepAliveRequest { id: 1 }).await.expect("asked");
        let renewed = answers.message().await.expect("an answer").expect("an answer");
        assert_eq!((renewed.id, renewed.ttl), (1, 2), "after {turns} turns");
        kv.put(put(&format!("k{turns}"), "v")).await.expect("put");
        turns += 1;
        set_clock(&cluster.members[back], if turns % 2 == 0 { "-2d" } else { "-3d" });
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(turns > 10, "it ended after {turns} turns of 20 ms, and had 2 s to live");
    assert_eq!(kv.range(get("leased1")).await.expect("read").into_inner().count, 1);

    // Started again in the past.
    set_clock(&cluster.members[back], "-2d");
    let log = cluster.members[back].data_dir.with_extension("log");
    let before = std::fs::read_to_string(&log).expect("its log").len();
    let two_days_ago = day(2);
    cluster.members[back].kill();
    cluster.members[back].start();
    let last = format!("k{}", turns - 1);
    for member in &cluster.members {
        let mut kv = member.kv().await;
        assert_eq!(kv.range(get(&last)).await.expect("read").into_inner().count, 1, "{}", member.name);
        kv.put(put("after", "v")).await.expect("put");
    }
    let said = std::fs::read_to_string(&log).expect("its log")[before..].to_owned();
    // Midnight may have passed meanwhile.
    let is_past = said.starts_with(&two_days_ago) || said.starts_with(&day(2));
    assert!(is_past, "its clock was not set back: {said}");
}
