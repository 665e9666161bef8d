//! etcd's own client works against it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::{Cluster, Member, own_loopback};

fn etcdctl(member: &Member, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &format!("{}:{}", own_loopback(), member.client_port)])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("etcdctl is installed (Debian: etcd-client)");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_does_its_work() {
    let cluster = Cluster::started(1);
    let member = &cluster.members[0];
    member.channel().await;
    let ok = |arguments: &[&str], input: &str| {
        let (success, text) = etcdctl(member, arguments, input);
        assert!(success, "{arguments:?}: {text}");
        text
    };
    assert_eq!(ok(&["put", "a", "1"], ""), "OK\n");
    assert_eq!(ok(&["put", "a", "2", "--prev-kv"], ""), "OK\na\n1\n");
    assert_eq!(ok(&["get", "a", "--print-value-only"], ""), "2\n");
    assert_eq!(ok(&["get", "a", "--rev", "2", "--print-value-only"], ""), "1\n");
    let txn = "mod(\"a\") = \"3\"\n\nput b 7\nget a\n\nget b\n\n";
    assert_eq!(ok(&["txn"], txn), "SUCCESS\n\nOK\n\na\n2\n");
    assert_eq!(ok(&["get", "--prefix", "", "--keys-only"], ""), "a\n\nb\n\n");
    assert_eq!(ok(&["get", "--prefix", "", "--order=DESCEND", "--limit=1", "--print-value-only"], ""), "7\n");
    assert_eq!(ok(&["del", "--prefix", ""], ""), "2\n");
    assert!(ok(&["lease", "grant", "100"], "").contains("granted with TTL(100s)"));
    assert!(ok(&["lease", "list"], "").contains("found 1 leases"));
    assert!(ok(&["compaction", "4", "--physical"], "").contains("compacted revision 4"));
    let (success, text) = etcdctl(member, &["get", "a", "--rev=2"], "");
    assert!(!success && text.contains("etcdserver: mvcc: required revision has been compacted"), "{text}");
    let (success, text) = etcdctl(member, &["compaction", "4"], "");
    assert!(!success && text.contains("etcdserver: mvcc: required revision has been compacted"), "{text}");
    assert!(ok(&["endpoint", "status", "-w", "json"], "").contains("\"dbSize\""));
    assert!(ok(&["endpoint", "health"], "").contains("is healthy"));
    assert!(ok(&["member", "list"], "").contains("m1"));
    assert!(ok(&["defrag"], "").contains("Finished defragmenting"));
    assert!(ok(&["endpoint", "hashkv"], "").contains(&own_loopback().to_string()));
    assert_eq!(ok(&["alarm", "list"], ""), "");
    assert_eq!(ok(&["put", "a", "still here"], ""), "OK\n");
    assert_eq!(ok(&["lock", "guarded", "echo", "held"], ""), "held\n");
}
