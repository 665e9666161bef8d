//! `keelson up`: from nothing, or from what was there before, to a cluster whose nodes are Ready.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::cluster::{Cluster, Network};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::plan::Facts;
use crate::progress::Progress;
use crate::{api, containerd, kubeconfig, machine, network, pki, plan, slot, store, supervisor};

/// The names under which configurations ask for the CNI plugin.
const PLUGINS: [&str; 3] = ["bridge", "host-local", "loopback"];
const SERVED_LIMIT: Duration = Duration::from_secs(60);
const READY_LIMIT: Duration = Duration::from_secs(120);
const MEMBERS_LIMIT: Duration = Duration::from_secs(120);

#[derive(Args)]
pub struct Options {
    /// Nodes on this machine; with more than one, each has its own network namespace, containerd and agent [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    nodes: Option<u8>,

    /// Members of the Raft store: 1, 3 or 5; a cluster that exists may gain some [default: 1]
    #[arg(long, value_name = "M", value_parser = odd_members)]
    members: Option<u8>,

    /// How nodes stand in the network [default: host for the one node of the machine's first cluster, else namespaces]
    #[arg(long, value_enum)]
    network: Option<Network>,

    /// A flag for one component, such as apiserver=--v=4 or nodeagent-node-2=--max-pods=20; may be given again
    #[arg(long = "flag", value_name = "COMPONENT=FLAG", value_parser = component_flag)]
    flags: Vec<(String, String)>,

    /// Directory of the component binaries [default: where keelson itself lies]
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

fn odd_members(text: &str) -> std::result::Result<u8, String> {
    match text.parse() {
        Ok(members @ (1 | 3 | 5)) => Ok(members),
        _ => Err("a store has 1, 3 or 5 members: an even number survives no more failures than the odd one below it"
            .to_owned()),
    }
}

fn component_flag(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((component, flag)) if flag.starts_with("--") => Ok((component.to_owned(), flag.to_owned())),
        _ => Err("write COMPONENT=--flag=value".to_owned()),
    }
}

pub async fn up(layout: &Layout, options: Options) -> Result<()> {
    let binaries = binaries(&options)?;
    let mut progress = Progress::new(8);
    let facts = progress.step("Checking the machine", async { machine::check(&binaries) }).await?;
    let cluster =
        progress.step("Taking up the cluster's configuration", async { configure(layout, &options, binaries) }).await?;
    progress.step("Issuing identities", async { issue(layout, &cluster, &facts) }).await?;
    progress.step("Preparing the network", network::ensure(&cluster)).await?;
    progress.step("Starting the processes", async { start(layout, &cluster) }).await?;
    let client = api::client(layout)?;
    let logs = layout.logs().display().to_string();
    progress.step("Waiting for the API server", api::wait_until_served(&client, SERVED_LIMIT, &logs)).await?;
    progress.step("Waiting for the store's members", store::all_vote(layout, &cluster, MEMBERS_LIMIT)).await?;
    let names = cluster.node_names();
    let ready = api::wait_until_ready(&client, layout, &names, READY_LIMIT, &logs);
    progress.step("Waiting for the nodes", ready).await?;
    let kubeconfig = layout.kubeconfig("admin");
    println!("\nThe cluster is up: {} node(s), {} store member(s). Next:\n", cluster.nodes, cluster.members);
    println!("    export KUBECONFIG={}", kubeconfig.display());
    println!("    kubectl create deployment test-nginx --image=nginx:alpine --replicas=3\n");
    Ok(())
}

fn binaries(options: &Options) -> Result<PathBuf> {
    let directory = match &options.binaries {
        Some(directory) => directory.clone(),
        None => {
            let this = std::env::current_exe().map_err(|error| Error::tried("find the keelson binary", error))?;
            this.parent().map(Path::to_owned).unwrap_or_default()
        }
    };
    std::path::absolute(&directory).map_err(|error| Error::file("use", &directory, error))
}

/// The cluster that is there, or a new one by the options.
fn configure(layout: &Layout, options: &Options, binaries: PathBuf) -> Result<Cluster> {
    let mut cluster = match Cluster::load(layout)? {
        Some(cluster) => {
            slot::reserve(layout.root(), Some(cluster.slot))?;
            take_up(cluster, options)?
        }
        None => {
            let slot = slot::reserve(layout.root(), None)?;
            let nodes = options.nodes.unwrap_or(1);
            let by_default = if slot == 0 && nodes == 1 { Network::Host } else { Network::Namespaces };
            let network = options.network.unwrap_or(by_default);
            if network == Network::Host && nodes > 1 {
                return Err(Error::new("a machine can be only one node")
                    .hint("leave --network=host out to put each node into a namespace"));
            }
            Cluster::new(slot, network, nodes, options.members.unwrap_or(1), binaries.clone())
        }
    };
    cluster.binaries = binaries;
    if !options.flags.is_empty() {
        let mut flags = BTreeMap::<String, Vec<String>>::new();
        for (component, flag) in &options.flags {
            flags.entry(component.clone()).or_default().push(flag.clone());
        }
        cluster.extra_flags = flags;
    }
    for directory in [layout.configuration(), layout.state(), layout.logs(), layout.runtime()] {
        crate::files::directory(&directory, 0o755)?;
    }
    cluster.save(layout)?;
    Ok(cluster)
}

/// What may change about a cluster that exists: it may gain nodes and members of the store.
fn take_up(mut cluster: Cluster, options: &Options) -> Result<Cluster> {
    if let Some(member) = &cluster.recovering {
        return Err(Error::new("a recovery of the store was cut short")
            .hint(format!("finish it: keelson store recover --member={member} (with the flags that it had)")));
    }
    match options.members {
        Some(members) if members < cluster.members => {
            return Err(Error::new(format!("this cluster's store has {} members", cluster.members))
                .hint("leave --members out: members are not taken away by `up`"));
        }
        Some(members) if members > cluster.members => {
            cluster.founders = Some(cluster.founding_members());
            cluster.members = members;
        }
        _ => {}
    }
    if options.network.is_some_and(|network| network != cluster.network) {
        return Err(Error::new("the network of a cluster cannot change").hint("leave --network out"));
    }
    match options.nodes {
        Some(nodes) if nodes != cluster.nodes && cluster.network == Network::Host => {
            Err(Error::new("this cluster's one node is the machine itself")
                .hint("leave --nodes out, or use another --root"))
        }
        Some(nodes) if nodes < cluster.nodes => {
            Err(Error::new(format!("this cluster has {} nodes; nodes are not taken away by `up`", cluster.nodes))
                .hint("leave --nodes out"))
        }
        Some(nodes) => {
            cluster.nodes = nodes;
            Ok(cluster)
        }
        None => Ok(cluster),
    }
}

fn issue(layout: &Layout, cluster: &Cluster, facts: &Facts) -> Result<()> {
    pki::ensure(layout, cluster, &[facts.host_address])?;
    let ports = cluster.ports();
    let address = plan::api_address(cluster, facts);
    let local = IpAddr::from([127, 0, 0, 1]);
    kubeconfig::write(layout, "admin", &format!("https://{local}:{}", ports.api), true)?;
    for component in ["operator", "controllers", "scheduler"] {
        kubeconfig::write(layout, component, &format!("https://{local}:{}", ports.api_grpc), false)?;
    }
    for node in cluster.node_names() {
        kubeconfig::write(layout, &node, &format!("https://{address}:{}", ports.api_grpc), false)?;
        containerd::write_configuration(layout, &node)?;
    }
    Ok(())
}

fn start(layout: &Layout, cluster: &Cluster) -> Result<()> {
    install_plugins(layout, &cluster.binaries)?;
    supervisor::start(layout)
}

/// Puts the CNI plugin where the node agents look for it, under each of its names.
fn install_plugins(layout: &Layout, binaries: &Path) -> Result<()> {
    let directory = layout.state().join("cni/bin");
    let program = binaries.join("cni-bridge");
    let content = std::fs::read(&program).map_err(|error| Error::file("read", &program, error))?;
    crate::files::write(&directory.join("cni-bridge"), &content, 0o755)?;
    for name in PLUGINS {
        let link = directory.join(name);
        crate::files::remove(&link)?;
        std::os::unix::fs::symlink("cni-bridge", &link).map_err(|error| Error::file("create", &link, error))?;
    }
    Ok(())
}
