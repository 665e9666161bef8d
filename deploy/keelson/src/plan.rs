//! Which processes a cluster consists of on this machine, and with which arguments: a pure function of the cluster.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::cluster::{Cluster, Network};
use crate::layout::Layout;

/// When a process is stopped relative to the others: the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Agent,
    Control,
    Api,
    Runtime,
    Store,
}

/// One supervised process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSpec {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// The network namespace in which it runs, by name.
    pub namespace: Option<String>,
    pub stage: Stage,
}

/// What the plan needs to know about the machine.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The machine's address as others see it.
    pub host_address: IpAddr,
    pub containerd: PathBuf,
}

/// Every process of the cluster, in the order in which they are started.
pub fn processes(cluster: &Cluster, layout: &Layout, facts: &Facts) -> Vec<ProcessSpec> {
    let mut all: Vec<ProcessSpec> = (0..cluster.members).map(|index| store(cluster, layout, index)).collect();
    all.push(apiserver(cluster, layout, facts));
    all.push(controllers(cluster, layout));
    all.push(scheduler(cluster, layout));
    for index in 0..usize::from(cluster.nodes) {
        all.push(containerd(cluster, layout, facts, index));
        all.push(nodeagent(cluster, layout, facts, index));
    }
    for process in &mut all {
        let kind = process.name.split('-').next().unwrap_or_default();
        let own = cluster.extra_flags.get(&process.name).or_else(|| cluster.extra_flags.get(kind));
        process.arguments.extend(own.into_iter().flatten().cloned());
    }
    all
}

/// The address under which nodes and people reach the API server.
pub fn api_address(cluster: &Cluster, facts: &Facts) -> IpAddr {
    match cluster.network {
        Network::Host => facts.host_address,
        Network::Namespaces => IpAddr::from(cluster.gateway()),
    }
}

struct Flags<'a> {
    layout: &'a Layout,
    list: Vec<String>,
}

impl<'a> Flags<'a> {
    fn new(layout: &'a Layout) -> Self {
        Self { layout, list: Vec::new() }
    }

    fn set(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.list.push(format!("--{name}={value}"));
        self
    }

    fn path(self, name: &str, path: PathBuf) -> Self {
        self.set(name, path.display())
    }

    fn certificate(self, certificate_flag: &str, key_flag: &str, identity: &str) -> Self {
        let (certificate, key) = (self.layout.pki_file(identity, "crt"), self.layout.pki_file(identity, "key"));
        self.path(certificate_flag, certificate).path(key_flag, key)
    }

    fn ca(self, flag: &str) -> Self {
        let ca = self.layout.pki_file("ca", "crt");
        self.path(flag, ca)
    }

    fn traces(self, process: &str) -> Self {
        let traces = self.layout.traces().join(process);
        self.path("trace-dir", traces)
    }
}

fn store(cluster: &Cluster, layout: &Layout, index: u8) -> ProcessSpec {
    let name = format!("member-{}", index + 1);
    let joins = index >= cluster.founding_members();
    // A founding member's flags stay as they are when the store grows: it need not be started again.
    let named = if joins { cluster.members } else { cluster.founding_members() };
    let initial_cluster: Vec<String> =
        (0..named).map(|other| format!("member-{}={}", other + 1, cluster.peer_url(other))).collect();
    let flags = Flags::new(layout)
        .set("name", &name)
        .path("data-dir", layout.store(&name))
        .set("listen-client-urls", format!("{},{}", socket_url(layout, &name), cluster.client_url(index)))
        .set("advertise-client-urls", cluster.client_url(index))
        .set("listen-peer-urls", cluster.peer_url(index))
        .set("initial-advertise-peer-urls", cluster.peer_url(index))
        .set("initial-cluster", initial_cluster.join(","))
        .set("initial-cluster-state", if joins { "existing" } else { "new" })
        .set("listen-metrics-urls", format!("http://127.0.0.1:{}", cluster.ports().store_health + u16::from(index)))
        .certificate("cert-file", "key-file", "raftstore")
        .ca("trusted-ca-file")
        .certificate("peer-cert-file", "peer-key-file", "raftstore")
        .ca("peer-trusted-ca-file")
        .set("client-cert-allowed-cn", "keelson:apiserver,keelson:operator")
        .set("peer-cert-allowed-cn", "keelson:raftstore")
        .traces(&format!("raftstore-{name}"));
    ProcessSpec {
        name: format!("raftstore-{name}"),
        program: cluster.binaries.join("raftstore"),
        arguments: flags.list,
        namespace: None,
        stage: Stage::Store,
    }
}

fn socket_url(layout: &Layout, member: &str) -> String {
    format!("unix://{}", layout.store_socket(member).display())
}

fn apiserver(cluster: &Cluster, layout: &Layout, facts: &Facts) -> ProcessSpec {
    let ports = cluster.ports();
    let sockets = cluster.member_names().into_iter().map(|member| socket_url(layout, &member));
    // The sockets are the shorter way; the first that accepts a connection is taken.
    let servers: Vec<String> = sockets.chain((0..cluster.members).map(|index| cluster.client_url(index))).collect();
    let flags = Flags::new(layout)
        .set("etcd-servers", servers.join(","))
        .ca("etcd-cafile")
        .certificate("etcd-certfile", "etcd-keyfile", "apiserver")
        .set("bind-address", "0.0.0.0")
        .set("secure-port", ports.api)
        .set("grpc-port", ports.api_grpc)
        .set("advertise-address", api_address(cluster, facts))
        .ca("client-ca-file")
        .certificate("tls-cert-file", "tls-private-key-file", "apiserver")
        .certificate("kubelet-client-certificate", "kubelet-client-key", "apiserver")
        .ca("kubelet-certificate-authority")
        .path("service-account-key-file", layout.pki_file("sa", "pub"))
        .path("service-account-signing-key-file", layout.pki_file("sa", "key"))
        .set("service-account-issuer", "https://kubernetes.default.svc.cluster.local")
        .set("service-cluster-ip-range", "10.96.0.0/16")
        .traces("apiserver");
    ProcessSpec {
        name: "apiserver".to_owned(),
        program: cluster.binaries.join("apiserver"),
        arguments: flags.list,
        namespace: None,
        stage: Stage::Api,
    }
}

fn controllers(cluster: &Cluster, layout: &Layout) -> ProcessSpec {
    let flags = Flags::new(layout)
        .path("kubeconfig", layout.kubeconfig("controllers"))
        .set("bind-address", "127.0.0.1")
        .set("secure-port", cluster.ports().controllers)
        .certificate("tls-cert-file", "tls-private-key-file", "controllers")
        .ca("root-ca-file")
        .set("cluster-cidr", "10.244.0.0/16")
        .set("allocate-node-cidrs", "true")
        .traces("controllers");
    ProcessSpec {
        name: "controllers".to_owned(),
        program: cluster.binaries.join("controllers"),
        arguments: flags.list,
        namespace: None,
        stage: Stage::Control,
    }
}

fn scheduler(cluster: &Cluster, layout: &Layout) -> ProcessSpec {
    let flags = Flags::new(layout)
        .path("kubeconfig", layout.kubeconfig("scheduler"))
        .set("bind-address", "127.0.0.1")
        .set("secure-port", cluster.ports().scheduler)
        .certificate("tls-cert-file", "tls-private-key-file", "scheduler")
        .traces("scheduler");
    ProcessSpec {
        name: "scheduler".to_owned(),
        program: cluster.binaries.join("scheduler"),
        arguments: flags.list,
        namespace: None,
        stage: Stage::Control,
    }
}

fn node_namespace(cluster: &Cluster, node: &str) -> Option<String> {
    (cluster.network == Network::Namespaces).then(|| cluster.namespace(node))
}

fn containerd(cluster: &Cluster, layout: &Layout, facts: &Facts, index: usize) -> ProcessSpec {
    let node = &cluster.node_names()[index];
    ProcessSpec {
        name: format!("containerd-{node}"),
        program: facts.containerd.clone(),
        arguments: vec![
            "--config".to_owned(),
            crate::containerd::configuration_file(layout, node).display().to_string(),
        ],
        namespace: node_namespace(cluster, node),
        stage: Stage::Runtime,
    }
}

fn nodeagent(cluster: &Cluster, layout: &Layout, facts: &Facts, index: usize) -> ProcessSpec {
    let ports = cluster.ports();
    let node = &cluster.node_names()[index];
    let address = match cluster.network {
        Network::Host => facts.host_address,
        Network::Namespaces => IpAddr::from(cluster.node_address(index)),
    };
    let state = layout.node_state(node);
    let flags = Flags::new(layout)
        .path("kubeconfig", layout.kubeconfig(node))
        .set("hostname-override", node)
        .set("node-ip", address)
        .path("root-dir", state.join("agent"))
        .path("pod-logs-dir", layout.pod_logs(node))
        .path("runtime-dir", layout.node_runtime(node))
        .path("runtime-root", layout.node_runtime(node).join("runc"))
        .set("container-runtime-endpoint", format!("unix://{}", layout.containerd_socket(node).display()))
        .certificate("tls-cert-file", "tls-private-key-file", node)
        .ca("client-ca-file")
        .set("port", ports.node)
        .set("healthz-port", ports.node_health)
        .set("cluster-dns", "10.96.0.10")
        .set("cluster-domain", "cluster.local")
        .set("cgroup-root", cluster.cgroup_root(node))
        .path("cni-conf-dir", state.join("cni/net.d"))
        .path("cni-bin-dir", layout.state().join("cni/bin"))
        .path("cni-state-dir", state.join("cni/state"))
        .set("cni-bridge", cluster.pod_bridge())
        .traces(&agent_process(node));
    ProcessSpec {
        name: agent_process(node),
        program: cluster.binaries.join("nodeagent"),
        arguments: flags.list,
        namespace: node_namespace(cluster, node),
        stage: Stage::Agent,
    }
}

/// The name of the process that is a node's agent.
pub fn agent_process(node: &str) -> String {
    format!("nodeagent-{node}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(network: Network, nodes: u8, members: u8) -> Vec<ProcessSpec> {
        let mut cluster = Cluster::new(3, network, nodes, members, "/opt/keelson".into());
        cluster.extra_flags.insert("nodeagent".into(), vec!["--max-pods=7".into()]);
        let facts = Facts { host_address: IpAddr::from([192, 0, 2, 1]), containerd: "/usr/bin/containerd".into() };
        processes(&cluster, &Layout::new("/tmp/x"), &facts)
    }

    #[test]
    fn every_member_knows_all_and_the_api_server_knows_every_member() {
        let all = plan(Network::Host, 1, 3);
        let names: Vec<_> = all.iter().map(|process| process.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "raftstore-member-1",
                "raftstore-member-2",
                "raftstore-member-3",
                "apiserver",
                "controllers",
                "scheduler",
                "containerd-node-1",
                "nodeagent-node-1"
            ]
        );
        for member in &all[..3] {
            let initial = member.arguments.iter().find(|flag| flag.starts_with("--initial-cluster=")).expect("given");
            assert_eq!(initial.matches("https://").count(), 3, "{initial}");
        }
        assert!(
            all[3]
                .arguments
                .iter()
                .any(|flag| flag.starts_with("--etcd-servers=") && flag.matches("https://").count() == 3)
        );
    }

    #[test]
    fn members_that_come_later_join_and_change_nothing_for_those_that_were_there() {
        let facts = Facts { host_address: IpAddr::from([192, 0, 2, 1]), containerd: "/usr/bin/containerd".into() };
        let mut cluster = Cluster::new(3, Network::Host, 1, 1, "/opt/keelson".into());
        let before = processes(&cluster, &Layout::new("/tmp/x"), &facts);
        (cluster.founders, cluster.members) = (Some(1), 3);
        let after = processes(&cluster, &Layout::new("/tmp/x"), &facts);
        assert_eq!(before[0].arguments, after[0].arguments);
        for member in &after[1..3] {
            assert!(member.arguments.iter().any(|flag| flag == "--initial-cluster-state=existing"));
            let initial = member.arguments.iter().find(|flag| flag.starts_with("--initial-cluster=")).expect("given");
            assert_eq!(initial.matches("https://").count(), 3, "{initial}");
        }
    }

    #[test]
    fn nodes_in_namespaces_run_there_with_their_own_addresses_and_flags() {
        let all = plan(Network::Namespaces, 2, 1);
        let agents: Vec<_> = all.iter().filter(|process| process.stage == Stage::Agent).collect();
        assert_eq!(agents[1].namespace.as_deref(), Some("keelson3-node-2"));
        assert!(agents[1].arguments.contains(&"--node-ip=172.29.3.11".to_owned()));
        assert!(agents.iter().all(|agent| agent.arguments.last().is_some_and(|flag| flag == "--max-pods=7")));
    }
}
