//! A client door that is a file.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use keelson_wire::etcdserverpb::MemberListRequest;
use keelson_wire::etcdserverpb::cluster_client::ClusterClient;
use keelson_wire::etcdserverpb::kv_client::KvClient;
use tonic::transport::Endpoint;

use crate::harness::{Cluster, PATIENCE, get, put};

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_is_its_owners_and_is_taken_over_from_a_member_that_was_killed() {
    let mut cluster = Cluster::new(1);
    let socket = cluster.directory.path().join("m1.sock");
    let url = format!("unix://{}", socket.display());
    let member = &mut cluster.members[0];
    member.flags.push(format!("--listen-client-urls={url},{}", member.client_url()));
    let connected = async || {
        let started = Instant::now();
        loop {
            match Endpoint::from_shared(url.clone()).expect("a URL").connect().await {
                Ok(channel) => return KvClient::new(channel),
                Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    member.start();
    let mut near = connected().await;
    let written = near.put(put("a", "1")).await.expect("written").into_inner();
    assert_eq!(std::fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let mut far = member.kv().await;
    let read = far.range(get("a")).await.expect("read").into_inner();
    assert_eq!(read.header.expect("a header").revision, written.header.expect("a header").revision);
    // Members are told of the addresses that others can use.
    let mut members = ClusterClient::new(member.channel().await);
    let list = members.member_list(MemberListRequest::default()).await.expect("members").into_inner();
    assert_eq!(list.members[0].client_ur_ls, [member.client_url()]);

    member.kill();
    assert!(socket.exists(), "nobody was there to remove it");
    member.start();
    let mut near = connected().await;
    assert_eq!(near.range(get("a")).await.expect("read").into_inner().count, 1);
    assert!(member.stop());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_socket_stays_as_it_is() {
    let mut cluster = Cluster::new(1);
    let file = cluster.directory.path().join("notes");
    std::fs::write(&file, "mine").expect("written");
    for (urls, why) in [
        (format!("--listen-client-urls=unix://{}", file.display()), "in use"),
        ("--listen-client-urls=unix://m1.sock".to_owned(), "a path must follow"),
        (format!("--listen-peer-urls=unix://{}", file.display()), "members reach each other"),
    ] {
        let member = &mut cluster.members[0];
        member.flags.truncate(2);
        member.flags.push(urls);
        member.start();
        let log = member.fails().await;
        assert!(log.contains(why), "{log}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("read"), "mine");
}
