//! The plugin binary against the real kernel, in network namespaces of the test's own. Needs root.

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};

/// A network namespace held by an open file; it needs no mount and goes when the file is closed.
struct Namespace(File);

impl Namespace {
    fn new() -> Self {
        thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace (is this root?)");
            Namespace(File::open("/proc/thread-self/ns/net").expect("own namespace"))
        })
        .join()
        .expect("thread")
    }

    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("enter namespace");
                work()
            });
            inside.join().expect("work in a namespace")
        })
    }
}

struct Node {
    namespace: Namespace,
    directory: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Node { namespace: Namespace::new(), directory: tempfile::tempdir().expect("directory") }
    }

    fn config(&self, subnet: &str) -> Value {
        json!({
            "cniVersion": "0.3.1", "name": "bridge", "type": "bridge", "bridge": "cnio0",
            "isGateway": true, "ipMasq": true,
            "ipam": {
                "type": "host-local", "dataDir": self.directory.path(),
                "ranges": [[{ "subnet": subnet }]], "routes": [{ "dst": "0.0.0.0/0" }],
            },
        })
    }

    fn call(&self, command: &str, id: &str, netns: &str, config: &Value) -> Output {
        let call = || call("bridge", command, id, netns, "eth0", config);
        self.namespace.run(call)
    }

    fn add(&self, id: &str, netns: &Namespace, config: &Value) -> Value {
        succeeded(self.call("ADD", id, &netns.path(), config))
    }

    fn reserved(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path().join("bridge")).expect("store");
        let names = entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned());
        names.filter(|name| name.parse::<std::net::IpAddr>().is_ok()).collect()
    }

    fn links(&self) -> Vec<String> {
        let text = self.namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").expect("links"));
        text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_string())).collect()
    }
}

/// As a runtime calls it, in the namespace of the calling thread.
fn call(plugin: &str, command: &str, id: &str, netns: &str, interface: &str, config: &Value) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_cni-bridge"));
    std::os::unix::process::CommandExt::arg0(&mut child, plugin);
    let mut child = child
        .env("CNI_COMMAND", command)
        .env("CNI_CONTAINERID", id)
        .env("CNI_NETNS", netns)
        .env("CNI_IFNAME", interface)
        .env("CNI_PATH", "/nonexistent")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the plugin");
    child.stdin.take().expect("stdin").write_all(config.to_string().as_bytes()).expect("write");
    child.wait_with_output().expect("the plugin's answer")
}

fn succeeded(output: Output) -> Value {
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("JSON") }
}

fn failed(output: Output) -> Value {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("an error result")
}

fn with_previous(config: &Value, result: &Value, version: &str) -> Value {
    let mut config = config.clone();
    config["cniVersion"] = version.into();
    config["prevResult"] = result.clone();
    config
}

#[test]
fn two_containers_reach_each_other_and_their_gateway() {
    let node = Node::new();
    let config = node.config("10.244.3.0/24");
    let (one, two) = (Namespace::new(), Namespace::new());
    let first = node.add("one", &one, &config);
    let second = node.add("two", &two, &config);
    assert_eq!(first["cniVersion"], "0.3.1");
    assert_eq!(first["ips"][0]["address"], "10.244.3.2/24");
    assert_eq!(first["ips"][0]["gateway"], "10.244.3.1");
    assert_eq!(first["ips"][0]["version"], "4");
    assert_eq!(first["interfaces"][2]["name"], "eth0");
    assert_eq!(second["ips"][0]["address"], "10.244.3.3/24");

    let listener = two.run(|| TcpListener::bind("10.244.3.3:80").expect("listen"));
    let peer = one.run(|| {
        let stream = TcpStream::connect("10.244.3.3:80").expect("connect to the other container");
        stream.local_addr().expect("address")
    });
    let (_, from) = listener.accept().expect("accept");
    assert_eq!(from, peer, "within the network nothing is masqueraded");

    let gateway = node.namespace.run(|| TcpListener::bind("0.0.0.0:81").expect("listen"));
    one.run(|| TcpStream::connect("10.244.3.1:81").expect("connect to the gateway"));
    gateway.accept().expect("accept");
}

#[test]
fn the_host_forgets_who_had_an_address_before() {
    let node = Node::new();
    let config = node.config("10.244.3.0/24");
    let (one, two) = (Namespace::new(), Namespace::new());
    node.add("one", &one, &config);
    let ip = |words: &str| {
        let run = || Command::new("ip").args(words.split(' ')).output().expect("ip (Debian: iproute2)");
        String::from_utf8(node.namespace.run(run).stdout).expect("text")
    };
    ip("neigh replace 10.244.3.3 dev cnio0 lladdr 02:00:00:00:00:01 nud reachable");
    assert!(ip("neigh show 10.244.3.3").contains("02:00:00:00:00:01"));
    assert_eq!(node.add("two", &two, &config)["ips"][0]["address"], "10.244.3.3/24");
    let known = ip("neigh show 10.244.3.3");
    assert!(!known.contains("02:00:00:00:00:01"), "{known}");
}

#[test]
fn what_leaves_the_pod_network_carries_the_nodes_address() {
    let node = Node::new();
    let config = node.config("10.244.3.0/24");
    let pod = Namespace::new();
    node.add("pod", &pod, &config);
    // A machine elsewhere, on a link of the node's own: another bridge with a "container" that is that machine.
    let elsewhere = Namespace::new();
    let mut link = node.config("192.168.77.0/24");
    link["name"] = "link".into();
    link["bridge"] = "link0".into();
    link["ipMasq"] = false.into();
    node.add("elsewhere", &elsewhere, &link);

    let listener = elsewhere.run(|| TcpListener::bind("192.168.77.2:80").expect("listen"));
    pod.run(|| TcpStream::connect("192.168.77.2:80").expect("connect"));
    let (_, from): (_, SocketAddr) = listener.accept().expect("accept");
    assert_eq!(from.ip().to_string(), "192.168.77.1");

    // Unless the configuration excepts that network.
    let mut excepting = config.clone();
    excepting["masqueradeExcept"] = json!(["192.168.77.0/24"]);
    let other = Namespace::new();
    node.add("other", &other, &excepting);
    other.run(|| TcpStream::connect("192.168.77.2:80").expect("connect"));
    let (_, from) = listener.accept().expect("accept");
    assert_eq!(from.ip().to_string(), "10.244.3.3");
}

#[test]
fn a_thousand_adds_and_dels_leak_nothing() {
    const WORKERS: usize = 4;
    const ROUNDS: usize = 250;
    let node = Node::new();
    // 13 addresses for 4 workers: a leak of ten ends the test early.
    let config = node.config("10.244.3.0/28");
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (node, config) = (&node, &config);
            scope.spawn(move || {
                let netns = Namespace::new();
                for round in 0..ROUNDS {
                    let id = format!("c-{worker}-{round}");
                    node.add(&id, &netns, config);
                    succeeded(node.call("DEL", &id, &netns.path(), config));
                }
            });
        }
    });
    assert_eq!(node.reserved(), Vec::<String>::new());
    let mut links = node.links();
    links.sort();
    assert_eq!(links, ["cnio0", "lo"]);
}

#[test]
fn del_gives_back_what_a_vanished_container_had() {
    let node = Node::new();
    let config = node.config("10.244.3.0/24");
    let pod = Namespace::new();
    node.add("pod", &pod, &config);
    drop(pod);
    succeeded(node.call("DEL", "pod", "", &config));
    assert_eq!(node.reserved(), Vec::<String>::new());
    succeeded(node.call("DEL", "pod", "/nonexistent/netns", &config));
}

#[test]
fn a_failed_add_takes_nothing() {
    let node = Node::new();
    let mut config = node.config("10.244.3.0/24");
    let pod = Namespace::new();
    config["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0", "gw": "172.31.0.1" }]);
    let error = failed(node.call("ADD", "pod", &pod.path(), &config));
    assert_eq!(error["code"], 101, "{error}");
    assert_eq!(node.reserved(), Vec::<String>::new());
    assert!(!node.links().iter().any(|link| link.starts_with("veth")));

    let config = node.config("10.244.3.0/24");
    node.add("pod", &pod, &config);
    // A second ADD is refused and leaves the first one's interface alone.
    failed(node.call("ADD", "another", &pod.path(), &config));
    assert_eq!(node.reserved(), ["10.244.3.3"]);
    assert!(node.links().iter().any(|link| link.starts_with("veth")));
}

#[test]
fn check_sees_what_changed() {
    let node = Node::new();
    let config = node.config("10.244.3.0/24");
    let pod = Namespace::new();
    let result = node.add("pod", &pod, &config);
    let checked = with_previous(&config, &result, "0.4.0");
    succeeded(node.call("CHECK", "pod", &pod.path(), &checked));
    assert_eq!(failed(node.call("CHECK", "stranger", &pod.path(), &checked))["code"], 102);

    let mut other = result.clone();
    other["ips"][0]["address"] = "10.244.3.9/24".into();
    assert_eq!(failed(node.call("CHECK", "pod", &pod.path(), &with_previous(&config, &other, "1.0.0")))["code"], 102);
    assert_eq!(failed(node.call("CHECK", "pod", &pod.path(), &config))["code"], 7);
}

#[test]
fn gc_gives_back_the_addresses_of_the_unknown() {
    let node = Node::new();
    let mut config = node.config("10.244.3.0/24");
    let (one, two) = (Namespace::new(), Namespace::new());
    node.add("one", &one, &config);
    node.add("two", &two, &config);
    config["cniVersion"] = "1.1.0".into();
    config["cni.dev/valid-attachments"] = json!([{ "containerID": "two", "ifname": "eth0" }]);
    succeeded(node.call("GC", "", "", &config));
    assert_eq!(node.reserved(), ["10.244.3.3"]);
    succeeded(node.call("STATUS", "", "", &config));

    config["ipam"]["ranges"] = json!([]);
    assert_eq!(failed(node.call("STATUS", "", "", &config))["code"], 50);
}

#[test]
fn a_full_range_says_so_and_dual_stack_takes_one_of_each() {
    let node = Node::new();
    let config = node.config("10.244.3.0/30");
    let (one, two) = (Namespace::new(), Namespace::new());
    node.add("one", &one, &config);
    let error = failed(node.call("ADD", "two", &two.path(), &config));
    assert_eq!((error["code"].as_u64(), error["cniVersion"].as_str()), (Some(103), Some("0.3.1")), "{error}");

    let dual = Node::new();
    let mut config = dual.config("10.244.3.0/24");
    config["ipam"]["ranges"] = json!([[{ "subnet": "10.244.3.0/24" }], [{ "subnet": "fd00:3::/64" }]]);
    config["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]);
    config["cniVersion"] = "1.1.0".into();
    let result = dual.add("two", &two, &config);
    assert_eq!(result["ips"][1]["address"], "fd00:3::2/64");
    assert!(result["ips"][1].get("version").is_none());
    let mut checked = with_previous(&config, &result, "1.1.0");
    checked["ipMasq"] = false.into();
    succeeded(dual.call("CHECK", "two", &two.path(), &checked));
}

#[test]
fn loopback_comes_up_and_hands_on_what_it_got() {
    let pod = Namespace::new();
    let config = json!({ "cniVersion": "1.0.0", "name": "lo", "type": "loopback" });
    let result = succeeded(call("loopback", "ADD", "pod", &pod.path(), "lo", &config));
    assert_eq!(result["interfaces"][0]["name"], "lo");
    assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
    let listener = pod.run(|| TcpListener::bind("127.0.0.1:0").expect("listen on loopback"));
    let address = listener.local_addr().expect("address");
    pod.run(|| TcpStream::connect(address).expect("loopback carries traffic"));
    succeeded(call("cni-bridge", "CHECK", "pod", &pod.path(), "lo", &config));

    let previous = json!({ "cniVersion": "1.0.0", "ips": [{ "address": "10.0.0.9/24" }] });
    let chained = with_previous(&config, &previous, "1.0.0");
    let result = succeeded(call("loopback", "ADD", "pod", &pod.path(), "lo", &chained));
    assert_eq!(result["ips"], json!([{ "address": "10.0.0.9/24" }]));
    succeeded(call("loopback", "DEL", "pod", &pod.path(), "lo", &config));
}

#[test]
fn host_local_alone_serves_other_plugins() {
    let directory = tempfile::tempdir().expect("directory");
    let resolv = directory.path().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 10.96.0.10\nsearch cluster.local\n").expect("write");
    let config = json!({
        "cniVersion": "1.0.0", "name": "other", "type": "macvlan",
        "ipam": {
            "type": "host-local", "dataDir": directory.path(), "resolvConf": resolv,
            "ranges": [[{ "subnet": "10.9.0.0/24", "rangeStart": "10.9.0.50", "rangeEnd": "10.9.0.60", "gateway": "10.9.0.254" }]],
        },
    });
    let result = succeeded(call("host-local", "ADD", "c", "/unused", "eth0", &config));
    assert_eq!(result["ips"], json!([{ "address": "10.9.0.50/24", "gateway": "10.9.0.254" }]));
    assert_eq!(result["dns"], json!({ "nameservers": ["10.96.0.10"], "search": ["cluster.local"] }));
    assert!(Path::new(&directory.path().join("other/10.9.0.50")).exists());
    succeeded(call("host-local", "CHECK", "c", "/unused", "eth0", &config));
    succeeded(call("host-local", "DEL", "c", "", "eth0", &config));
    assert_eq!(failed(call("host-local", "CHECK", "c", "/unused", "eth0", &config))["code"], 102);
}
