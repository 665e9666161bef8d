//! What was acknowledged is on the disk, and comes back.

use std::collections::HashMap;

use keelson_wire::etcdserverpb as etcd;

use crate::harness::{Cluster, get, prefix, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_member_has_everything_again() {
    let mut cluster = Cluster::started(1);
    let mut kv = cluster.members[0].kv().await;
    let large = vec![b'x'; 1_400_000];
    kv.put(put("large", large.clone())).await.expect("put");
    for number in 0..200 {
        kv.put(put(&format!("key{number:03}"), format!("value{number}"))).await.expect("put");
    }
    let before = kv.range(prefix("key")).await.expect("read").into_inner();
    let deleted = etcd::DeleteRangeRequest { key: "key000".into(), ..Default::default() };
    kv.delete_range(deleted).await.expect("deleted");
    for round in 0..3 {
        cluster.members[0].kill();
        cluster.members[0].start();
        let mut kv = cluster.members[0].kv().await;
        let now = kv.range(prefix("key")).await.expect("read").into_inner();
        assert_eq!(now.kvs, before.kvs[1..], "round {round}");
        let revision = before.header.as_ref().expect("a header").revision;
        assert_eq!(now.header.expect("a header").revision, revision + 1);
        let old = etcd::RangeRequest { revision, ..prefix("key") };
        assert_eq!(kv.range(old).await.expect("read").into_inner().kvs, before.kvs);
        let found = kv.range(get("large")).await.expect("read").into_inner();
        assert_eq!(found.kvs[0].value, large);
    }
    assert!(cluster.members[0].stop());
}

/// Counts, by strace, the barriers on the log's file between the answers: a single client gets no answer without one.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_acknowledged_without_a_durability_barrier() {
    let mut cluster = Cluster::new(1);
    let trace = cluster.directory.path().join("trace");
    let member = &mut cluster.members[0];
    let filter = "trace=fdatasync,fsync,openat,pwrite64";
    member.wrapper =
        ["strace", "-f", "-o", &trace.to_string_lossy(), "-e", filter, "-e", "signal=none"].map(str::to_owned).to_vec();
    member.start();
    let mut kv = member.kv().await;
    kv.put(put("first", "1")).await.expect("put");
    let log = member.data_dir.join("log/");
    let barriers = || barriers_on(&trace, &log.to_string_lossy());
    for number in 0..50 {
        let before = barriers();
        kv.put(put("key", number.to_string())).await.expect("put");
        let after = barriers();
        assert!(after > before, "put {number} was answered without fdatasync on the log");
    }
    let before = barriers();
    let all = futures::future::join_all((0..64).map(|number| {
        let mut kv = kv.clone();
        async move {
            for _ in 0..4 {
                kv.put(put(&format!("key{number}"), "value")).await.expect("put");
            }
        }
    }));
    all.await;
    let used = barriers() - before;
    assert!((4..256).contains(&used), "64 clients with 4 writes each shared {used} barriers");
}

/// Finished fdatasync calls on a file, in strace's output.
fn barriers_on(trace: &std::path::Path, file: &str) -> usize {
    let text = std::fs::read_to_string(trace).expect("strace is installed and writes");
    let mut paths: HashMap<&str, bool> = HashMap::new();
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut barriers = 0;
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("openat(")
            && let Some((head, descriptor)) = call.rsplit_once(" = ")
        {
            paths.insert(descriptor, head.contains(file));
        } else if let Some(rest) = call.strip_prefix("fdatasync(") {
            match rest.split_once(')') {
                Some((descriptor, outcome)) if outcome.trim() == "= 0" => {
                    barriers += usize::from(paths.get(descriptor) == Some(&true));
                }
                _ => {
                    let descriptor = rest.split_whitespace().next().unwrap_or_default();
                    begun.insert(thread, descriptor);
                }
            }
        } else if call.starts_with("<... fdatasync resumed>") && call.ends_with("= 0") {
            let descriptor = begun.remove(thread).unwrap_or_default();
            barriers += usize::from(paths.get(descriptor) == Some(&true));
        }
    }
    barriers
}
