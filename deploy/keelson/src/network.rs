//! The network of nodes in namespaces: a bridge on the machine, a veth pair into each node's namespace, and a way out.
//!
//! Every step looks first and acts then, so it can be run again at any time.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::link::LinkAttribute;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth, RouteMessageBuilder};

use crate::cluster::{Cluster, Network};
use crate::error::{Error, Result};

const NAMESPACES: &str = "/run/netns";
/// The table in which cni-bridge keeps its masquerade rules; a node's namespace takes its own with it.
const CNI_TABLE: &str = "keelson-cni";

pub fn namespace_file(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(name)
}

/// Makes what is missing.
pub async fn ensure(cluster: &Cluster) -> Result<()> {
    write_sysctl("net/ipv4/ip_forward", "1")?;
    if cluster.network == Network::Host {
        return Ok(());
    }
    let links = connect()?;
    let bridge = ensure_bridge(&links, cluster).await?;
    for (index, node) in cluster.node_names().iter().enumerate() {
        let namespace = cluster.namespace(node);
        ensure_namespace(&namespace)?;
        ensure_node_link(&links, cluster, index, bridge, &namespace).await?;
        let (address, gateway) = (cluster.node_address(index), cluster.gateway());
        within(&namespace, move || configure_node(address, gateway)).await?;
    }
    masquerade(cluster)
}

/// Removes every link, namespace and table of the cluster's.
pub async fn remove(cluster: &Cluster) -> Result<()> {
    for node in cluster.node_names() {
        let file = namespace_file(&cluster.namespace(&node));
        if file.exists() {
            // A namespace that is only a file (its mount went with a reboot) needs no unmount.
            let _ = umount2(&file, MntFlags::MNT_DETACH);
            crate::files::remove(&file)?;
        }
    }
    let links = connect()?;
    // The kernel takes a namespace's links down some time after the namespace; a cluster made in between must not find
    // them.
    let mut names: Vec<_> = (0..usize::from(cluster.nodes)).map(|index| host_end(cluster, index)).collect();
    names.push(cluster.bridge());
    if cluster.network == Network::Host {
        // No namespace takes the bridge of the pods along.
        names.push(cluster.pod_bridge().to_owned());
    }
    for name in names {
        if let Some(index) = link(&links, &name).await? {
            match links.link().del(index).execute().await {
                Err(rtnetlink::Error::NetlinkError(gone)) if gone.raw_code() == -nix::libc::ENODEV => {}
                deleted => deleted.map_err(|error| Error::tried(format!("delete link {name}"), error))?,
            }
        }
    }
    let mut tables = vec![nft_table(cluster)];
    if cluster.network == Network::Host {
        tables.push(CNI_TABLE.to_owned());
    }
    for table in tables {
        for family in ["ip", "ip6"] {
            // An error says that there is no such table.
            let _ = nft(&format!("delete table {family} {table}\n"));
        }
    }
    Ok(())
}

fn connect() -> Result<Handle> {
    let (connection, handle, _) =
        rtnetlink::new_connection().map_err(|error| Error::tried("open a netlink socket", error))?;
    tokio::spawn(connection);
    Ok(handle)
}

/// A link's index by its name.
async fn link(links: &Handle, name: &str) -> Result<Option<u32>> {
    let mut found = links.link().get().match_name(name.to_owned()).execute();
    match found.try_next().await {
        Ok(message) => Ok(message.map(|message| message.header.index)),
        Err(rtnetlink::Error::NetlinkError(error)) if error.raw_code() == -nix::libc::ENODEV => Ok(None),
        Err(error) => Err(Error::tried(format!("look up link {name}"), error)),
    }
}

async fn ensure_bridge(links: &Handle, cluster: &Cluster) -> Result<u32> {
    let name = cluster.bridge();
    if link(links, &name).await?.is_none() {
        // A fixed address: else the bridge takes that of a port, and changes it when ports come and go.
        let message = LinkBridge::new(&name).address(vec![0x02, 0x6b, 0x65, 0x65, 0x6c, cluster.slot]).up().build();
        links
            .link()
            .add(message)
            .execute()
            .await
            .map_err(|error| Error::tried(format!("make bridge {name}"), error))?;
    }
    let index = link(links, &name).await?.ok_or_else(|| Error::new(format!("bridge {name} vanished")))?;
    ensure_address(links, index, cluster.gateway()).await?;
    Ok(index)
}

async fn ensure_address(links: &Handle, index: u32, address: Ipv4Addr) -> Result<()> {
    let mut addresses = links.address().get().set_link_index_filter(index).execute();
    while let Some(message) = addresses.try_next().await.map_err(|error| Error::tried("list addresses", error))? {
        let same = |attribute: &AddressAttribute| *attribute == AddressAttribute::Address(IpAddr::V4(address));
        if message.attributes.iter().any(same) {
            return Ok(());
        }
    }
    let added = links.address().add(index, IpAddr::V4(address), 24).execute().await;
    added.map_err(|error| Error::tried(format!("give {address} to a link"), error))
}

/// Names are at most 15 bytes: `kl3-n12`.
fn host_end(cluster: &Cluster, index: usize) -> String {
    format!("kl{}-n{}", cluster.slot, index + 1)
}

async fn ensure_node_link(links: &Handle, cluster: &Cluster, index: usize, bridge: u32, namespace: &str) -> Result<()> {
    let name = host_end(cluster, index);
    if link(links, &name).await?.is_some() {
        return Ok(());
    }
    let failed = |error: rtnetlink::Error| Error::tried(format!("make link {name}"), error);
    let inner = format!("{name}i");
    let pair = LinkVeth::new(&name, &inner).build();
    links.link().add(pair).execute().await.map_err(failed)?;
    let outer_index = link(links, &name).await?.ok_or_else(|| Error::new(format!("link {name} vanished")))?;
    let inner_index = link(links, &inner).await?.ok_or_else(|| Error::new(format!("link {inner} vanished")))?;
    let up = LinkUnspec::new_with_index(outer_index).controller(bridge).up().build();
    links.link().set(up).execute().await.map_err(failed)?;
    let path = namespace_file(namespace);
    let file = std::fs::File::open(&path).map_err(|error| Error::file("open", &path, error))?;
    let mut moved = LinkUnspec::new_with_index(inner_index).build();
    moved.attributes.push(LinkAttribute::NetNsFd(std::os::fd::AsRawFd::as_raw_fd(&file)));
    moved.attributes.push(LinkAttribute::IfName("eth0".to_owned()));
    links.link().set(moved).execute().await.map_err(failed)
}

/// Runs inside the node's namespace: loopback, address, way out.
async fn configure_node(address: Ipv4Addr, gateway: Ipv4Addr) -> Result<()> {
    let links = connect()?;
    for name in ["lo", "eth0"] {
        let index = link(&links, name).await?.ok_or_else(|| Error::new(format!("a node's namespace has no {name}")))?;
        let up = LinkUnspec::new_with_index(index).up().build();
        links.link().set(up).execute().await.map_err(|error| Error::tried(format!("set {name} up"), error))?;
        if name == "eth0" {
            ensure_address(&links, index, address).await?;
        }
    }
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(gateway).build();
    links.route().add(route).replace().execute().await.map_err(|error| Error::tried("set the default route", error))?;
    write_sysctl("net/ipv4/ip_forward", "1")
}

/// Makes a named network namespace, as `ip netns add` does.
fn ensure_namespace(name: &str) -> Result<()> {
    let file = namespace_file(name);
    if file.exists() && is_namespace(&file) {
        return Ok(());
    }
    crate::files::directory(Path::new(NAMESPACES), 0o755)?;
    std::fs::write(&file, "").map_err(|error| Error::file("create", &file, error))?;
    // A thread of its own, since the namespace of a thread changes.
    let target = file.clone();
    let made = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    })
    .join()
    .expect("the thread does not panic");
    made.map_err(|error| {
        Error::tried(format!("make the network namespace {name}"), error)
            .hint("a node in a namespace needs root and CAP_SYS_ADMIN")
    })
}

fn is_namespace(file: &Path) -> bool {
    const NSFS_MAGIC: i64 = 0x6e73_6673;
    nix::sys::statfs::statfs(file).is_ok_and(|found| found.filesystem_type().0 == NSFS_MAGIC)
}

/// Runs a future on a thread of its own inside a namespace.
async fn within<Work, Made>(namespace: &str, work: Made) -> Result<()>
where
    Made: FnOnce() -> Work + Send + 'static,
    Work: Future<Output = Result<()>>,
{
    let path = namespace_file(namespace);
    let thread = tokio::task::spawn_blocking(move || {
        std::thread::spawn(move || {
            let file = std::fs::File::open(&path).map_err(|error| Error::file("open", &path, error))?;
            setns(file.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|error| Error::tried("enter a network namespace", error))?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Error::tried("start a runtime", error))?;
            runtime.block_on(work())
        })
        .join()
        .expect("the thread does not panic")
    });
    thread.await.expect("the task is not cancelled")
}

/// Lets the nodes reach what the machine reaches.
fn masquerade(cluster: &Cluster) -> Result<()> {
    let table = nft_table(cluster);
    let [a, b, c, _] = cluster.gateway().octets();
    let subnet = format!("{a}.{b}.{c}.0/24");
    nft(&format!(
        "table ip {table} {{}}\n\
         delete table ip {table}\n\
         table ip {table} {{\n\
           chain postrouting {{\n\
             type nat hook postrouting priority srcnat; policy accept;\n\
             ip saddr {subnet} ip daddr != {subnet} masquerade\n\
           }}\n\
         }}\n"
    ))
}

fn nft_table(cluster: &Cluster) -> String {
    format!("keelson{}-nodes", cluster.slot)
}

/// Applies a script in one transaction.
fn nft(script: &str) -> Result<()> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let failed =
        |error: &dyn std::fmt::Display| Error::tried("program nftables", error).hint("install the package nftables");
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&error))?;
    child.stdin.take().expect("it was piped").write_all(script.as_bytes()).map_err(|error| failed(&error))?;
    let output = child.wait_with_output().map_err(|error| failed(&error))?;
    if output.status.success() { Ok(()) } else { Err(failed(&String::from_utf8_lossy(&output.stderr).trim())) }
}

fn write_sysctl(name: &str, value: &str) -> Result<()> {
    let path = Path::new("/proc/sys").join(name);
    std::fs::write(&path, value).map_err(|error| Error::file("write", &path, error))
}
