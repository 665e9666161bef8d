//! Space that runs out stops what grows, and nothing else, until there is space again.

use std::path::{Path, PathBuf};
use std::process::Command;

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::alarm_request::AlarmAction;
use keelson_wire::etcdserverpb::maintenance_client::MaintenanceClient;

use crate::harness::{Cluster, get, put};

/// A file system of its own, of a few megabytes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: &Path, megabytes: u32) -> Self {
        std::fs::create_dir_all(path).expect("a directory");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).status();
        assert!(mounted.expect("mount runs").success(), "the tests of a full disk need root");
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn disarm(cluster: &Cluster) {
    let mut maintenance = MaintenanceClient::new(cluster.members[0].channel().await);
    let alarm = etcd::AlarmType::Nospace as i32;
    let request = etcd::AlarmRequest { action: AlarmAction::Deactivate as i32, member_id: 0, alarm };
    maintenance.alarm(request).await.expect("disarmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_puts_and_lets_the_rest_go_on() {
    let mut cluster = Cluster::new(1);
    let disk = SmallDisk::mount(&cluster.directory.path().join("disk"), 96);
    let member = &mut cluster.members[0];
    member.data_dir = disk.0.join("m1");
    member.flags.extend(["--disk-reserve-bytes".to_owned(), (24 << 20).to_string()]);
    member.start();
    let mut kv = member.kv().await;
    kv.put(put("kept", "value")).await.expect("put");
    let filler = disk.0.join("filler");
    std::fs::write(&filler, vec![0; 70 << 20]).expect("filled");
    let refused = loop {
        match kv.put(put("more", vec![b'm'; 100_000])).await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");
    // Reads and deletes go on, and so does a compaction.
    assert_eq!(kv.range(get("kept")).await.expect("read").into_inner().count, 1);
    let delete = etcd::DeleteRangeRequest { key: "more".into(), ..Default::default() };
    let revision = kv.delete_range(delete).await.expect("deleted").into_inner().header.expect("a header").revision;
    kv.compact(etcd::CompactionRequest { revision, physical: true }).await.expect("compacted");
    let mut maintenance = MaintenanceClient::new(cluster.members[0].channel().await);
    let status = maintenance.status(etcd::StatusRequest {}).await.expect("a status").into_inner();
    assert!(status.errors.iter().any(|error| error.contains("NOSPACE")), "{:?}", status.errors);

    // With space again and the alarm disarmed it takes writes as before; a restart changes nothing.
    std::fs::remove_file(&filler).expect("removed");
    crate::harness_wait(|| {
        let mut kv = kv.clone();
        let cluster = &cluster;
        async move {
            disarm(cluster).await;
            kv.put(put("again", "value")).await.is_ok()
        }
    })
    .await;
    cluster.members[0].kill();
    cluster.members[0].start();
    let mut kv = cluster.members[0].kv().await;
    for key in ["kept", "again"] {
        assert_eq!(kv.range(get(key)).await.expect("read").into_inner().count, 1, "{key}");
    }
    kv.put(put("after", "value")).await.expect("put");
    cluster.members[0].kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_is_kept() {
    let mut cluster = Cluster::new(1);
    cluster.members[0].flags.extend(["--quota-backend-bytes".to_owned(), "1000000".to_owned()]);
    cluster.members[0].start();
    let mut kv = cluster.members[0].kv().await;
    for number in 0..9 {
        kv.put(put("key", vec![number; 100_000])).await.expect("put");
    }
    let refused = kv.put(put("key", vec![0; 200_000])).await.expect_err("over the quota");
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");
    let refused = kv.put(put("small", "x")).await.expect_err("the alarm is raised");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    let revision = kv.range(get("key")).await.expect("read").into_inner().header.expect("a header").revision;
    kv.compact(etcd::CompactionRequest { revision, physical: true }).await.expect("compacted");
    disarm(&cluster).await;
    kv.put(put("key", vec![1; 200_000])).await.expect("there is space again");
    let refused = kv.put(put("key", vec![1; 2_000_000])).await.expect_err("too large");
    assert_eq!(refused.message(), "etcdserver: request is too large");
}
