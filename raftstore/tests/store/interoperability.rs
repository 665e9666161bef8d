//! etcd's own client works against it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use keelson_wire::etcdserverpb as etcd;

use crate::harness::{Cluster, Member, own_loopback, prefix};

/// The etcdctls of ETCDCTLS, or the one that is found.
fn programs() -> Vec<String> {
    let named = std::env::var("ETCDCTLS").unwrap_or_else(|_| "etcdctl".to_owned());
    named.split(':').map(str::to_owned).collect()
}

fn command(program: &str, member: &Member, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env("ETCDCTL_API", "3");
    command.args(["--endpoints", &format!("{}:{}", own_loopback(), member.client_port)]).args(arguments);
    command
}

fn etcdctl(program: &str, member: &Member, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = command(program, member, arguments)
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
    for program in programs() {
        does_its_work(&program).await;
    }
}

async fn does_its_work(program: &str) {
    let cluster = Cluster::started(1);
    let member = &cluster.members[0];
    member.channel().await;
    let ok = |arguments: &[&str], input: &str| {
        let (success, text) = etcdctl(program, member, arguments, input);
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
    let (success, text) = etcdctl(program, member, &["get", "a", "--rev=2"], "");
    assert!(!success && text.contains("etcdserver: mvcc: required revision has been compacted"), "{text}");
    let (success, text) = etcdctl(program, member, &["compaction", "4"], "");
    assert!(!success && text.contains("etcdserver: mvcc: required revision has been compacted"), "{text}");
    assert!(ok(&["endpoint", "status", "-w", "json"], "").contains("\"dbSize\""));
    assert!(ok(&["endpoint", "health"], "").contains("is healthy"));
    assert!(ok(&["member", "list"], "").contains("m1"));
    assert!(ok(&["defrag"], "").contains("Finished defragmenting"));
    assert!(ok(&["endpoint", "hashkv"], "").contains(&own_loopback().to_string()));
    assert_eq!(ok(&["alarm", "list"], ""), "");
    assert_eq!(ok(&["put", "a", "still here"], ""), "OK\n");
    assert_eq!(ok(&["lock", "guarded", "echo", "held"], ""), "held\n");

    let lease = ok(&["lease", "grant", "1000"], "");
    let lease = lease.split_whitespace().nth(1).expect("its id");
    assert_eq!(ok(&["put", "leased", "1", "--lease", lease], ""), "OK\n");
    assert!(ok(&["lease", "timetolive", lease, "--keys"], "").contains("attached keys([leased])"));
    assert!(ok(&["lease", "keep-alive", "--once", lease], "").contains("keepalived with TTL(1000)"));
    assert!(ok(&["lease", "revoke", lease], "").contains("revoked"));
    assert_eq!(ok(&["get", "leased"], ""), "");

    let backup = cluster.directory.path().join("backup.db");
    let backup = backup.to_str().expect("a path");
    assert!(ok(&["snapshot", "save", backup], "").contains("Snapshot saved at"));
    assert!(ok(&["snapshot", "save", backup], "").contains("Snapshot saved at"), "also over an older one");
}

#[tokio::test(flavor = "multi_thread")]
async fn etcdctl_changes_the_members() {
    for program in programs() {
        changes_the_members(&program).await;
    }
}

async fn changes_the_members(program: &str) {
    let cluster = Cluster::started(3);
    let leader = cluster.leader().await;
    let member = &cluster.members[leader];
    let ok = |arguments: &[&str]| {
        let (success, text) = etcdctl(program, member, arguments, "");
        assert!(success, "{arguments:?}: {text}");
        text
    };
    let id_of = |name: &str| {
        let list = ok(&["member", "list"]);
        let line = list.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} is not in {list}"));
        line.split(',').next().expect("an id").to_owned()
    };
    let other = &cluster.members[(leader + 1) % 3];
    assert!(ok(&["move-leader", &id_of(&other.name)]).contains("Leadership transferred"));
    let added = ok(&["member", "add", "m4", "--learner", "--peer-urls", "http://127.0.0.1:1"]);
    assert!(added.contains("added to cluster"), "{added}");
    assert!(ok(&["member", "list"]).contains("http://127.0.0.1:1"));
    let learner = added.split_whitespace().nth(1).expect("an id");
    let (success, text) = etcdctl(program, other, &["member", "promote", learner], "");
    assert!(!success && text.contains("can only promote a learner member which is in sync with leader"), "{text}");
    assert!(ok(&["member", "update", learner, "--peer-urls", "http://127.0.0.1:2"]).contains("updated in cluster"));
    assert!(ok(&["member", "remove", learner]).contains("removed from cluster"));
    assert!(!ok(&["member", "list"]).contains(learner));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_goes_to_one_and_then_to_the_next() {
    for program in programs() {
        election(&program).await;
    }
}

async fn election(program: &str) {
    let cluster = Cluster::started(1);
    let member = &cluster.members[0];
    member.channel().await;
    let campaign = |value: &str| {
        let mut command = command(program, member, &["elect", "office", value]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("etcdctl is installed")
    };
    let holder = || async {
        let mut kv = member.kv().await;
        let office = etcd::RangeRequest {
            sort_target: etcd::range_request::SortTarget::Create as i32,
            sort_order: etcd::range_request::SortOrder::Ascend as i32,
            ..prefix("office/")
        };
        let found = kv.range(office).await.expect("a range").into_inner().kvs;
        (found.len(), found.first().map(|first| first.value.clone()).unwrap_or_default())
    };
    let mut first = campaign("first");
    crate::harness_wait(|| async { holder().await.0 == 1 }).await;
    let mut second = campaign("second");
    crate::harness_wait(|| async { holder().await.0 == 2 }).await;
    assert_eq!(holder().await.1, "first");
    // It resigns when it is told to end.
    let asked = Command::new("kill").args(["-INT", &first.id().to_string()]).status().expect("kill runs");
    assert!(asked.success());
    first.wait().expect("it ends");
    crate::harness_wait(|| async { holder().await.1 == "second" }).await;
    second.kill().expect("it runs");
    second.wait().expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_health_check_is_answered() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;
    let cluster = Cluster::started(1);
    let mut health = HealthClient::new(cluster.members[0].channel().await);
    let all = HealthCheckRequest { service: String::new() };
    let answer = health.check(all).await.expect("an answer").into_inner();
    assert_eq!(answer.status(), ServingStatus::Serving);
    let unknown = HealthCheckRequest { service: "no such service".to_owned() };
    assert_eq!(health.check(unknown).await.expect_err("it is unknown").code(), tonic::Code::NotFound);
}
