//! The cluster as it was first made: written once, taken up by every later `keelson up`.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layout::Layout;

/// The version of `cluster.json`; a newer one is refused.
const FORMAT: u32 = 1;

/// How the nodes of this machine stand in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The one node is the machine itself.
    Host,
    /// Each node has a network namespace on a bridge of the cluster's.
    Namespaces,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    pub format: u32,
    /// Tells clusters on one machine apart: ports, link names, subnets and cgroups follow from it.
    pub slot: u8,
    pub network: Network,
    pub nodes: u8,
    pub members: u8,
    /// Members that the store began with; the others joined it later. All, if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub founders: Option<u8>,
    /// The member of which a cluster of one is being made; nothing may start before that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovering: Option<String>,
    /// Flags that the user gave for single components, such as `apiserver: ["--v=4"]`.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub extra_flags: std::collections::BTreeMap<String, Vec<String>>,
    /// The directory of the component binaries.
    pub binaries: PathBuf,
}

/// The ports of one cluster on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    pub api: u16,
    pub api_grpc: u16,
    pub controllers: u16,
    pub scheduler: u16,
    /// Of the first member; the others follow.
    pub store_client: u16,
    pub store_peer: u16,
    pub store_health: u16,
    /// Of the first node; with namespaces every node uses the same.
    pub node: u16,
    pub node_health: u16,
}

impl Cluster {
    pub fn new(slot: u8, network: Network, nodes: u8, members: u8, binaries: PathBuf) -> Self {
        let (founders, recovering, extra_flags) = (None, None, Default::default());
        Self { format: FORMAT, slot, network, nodes, members, founders, recovering, extra_flags, binaries }
    }

    /// The cluster that was made here before, if any.
    pub fn load(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.cluster_file();
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::file("read", &path, source)),
        };
        let cluster: Self = serde_json::from_slice(&text).map_err(|error| {
            Error::new(format!("{} is damaged: {error}", path.display()))
                .hint("restore it from a backup, or remove the cluster with `keelson down --purge`")
        })?;
        if cluster.format > FORMAT {
            return Err(Error::new(format!(
                "{} was written by a newer keelson (format {})",
                path.display(),
                cluster.format
            ))
            .hint("use the keelson that made this cluster, or a newer one"));
        }
        Ok(Some(cluster))
    }

    pub fn save(&self, layout: &Layout) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).expect("a cluster is always JSON");
        crate::files::write(&layout.cluster_file(), &text, 0o644)
    }

    /// Upstream's well-known ports for the first cluster, a block of a hundred for each further one.
    pub fn ports(&self) -> Ports {
        if self.slot == 0 {
            return Ports {
                api: 6443,
                api_grpc: 6444,
                controllers: 10257,
                scheduler: 10259,
                store_client: 2379,
                store_peer: 2479,
                store_health: 2579,
                node: 10250,
                node_health: 10248,
            };
        }
        let base = 21_000 + u16::from(self.slot) * 100;
        Ports {
            api: base,
            api_grpc: base + 1,
            controllers: base + 2,
            scheduler: base + 3,
            store_client: base + 10,
            store_peer: base + 30,
            store_health: base + 50,
            node: base + 70,
            node_health: base + 71,
        }
    }

    pub fn node_names(&self) -> Vec<String> {
        (1..=self.nodes).map(|number| format!("node-{number}")).collect()
    }

    pub fn member_names(&self) -> Vec<String> {
        (1..=self.members).map(|number| format!("member-{number}")).collect()
    }

    /// Where clients reach the store's member of this number, from 0.
    pub fn client_url(&self, index: u8) -> String {
        format!("https://127.0.0.1:{}", self.ports().store_client + u16::from(index))
    }

    /// Where the other members reach it.
    pub fn peer_url(&self, index: u8) -> String {
        format!("https://127.0.0.1:{}", self.ports().store_peer + u16::from(index))
    }

    /// See [`founders`](Self::founders).
    pub fn founding_members(&self) -> u8 {
        self.founders.unwrap_or(self.members)
    }

    /// The bridge on which the nodes' namespaces meet.
    pub fn bridge(&self) -> String {
        format!("keelson{}", self.slot)
    }

    /// The bridge on which a node's pods meet: the one that CNI configurations usually name.
    pub fn pod_bridge(&self) -> &'static str {
        "cnio0"
    }

    /// A node's network namespace, by the name that `ip netns` shows.
    pub fn namespace(&self, node: &str) -> String {
        format!("keelson{}-{node}", self.slot)
    }

    /// The machine's own address on the nodes' bridge: a /24 of 172.29.0.0/16 for each cluster.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(172, 29, self.slot, 1)
    }

    /// A node's address on the bridge; `index` counts from 0.
    pub fn node_address(&self, index: usize) -> Ipv4Addr {
        let host = u8::try_from(index + 10).expect("there are fewer than 200 nodes");
        Ipv4Addr::new(172, 29, self.slot, host)
    }

    pub fn cgroup_root(&self, node: &str) -> String {
        format!("/keelson{}/{node}", self.slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_side_by_side_share_no_port() {
        let ports_of = |slot| {
            let ports = Cluster::new(slot, Network::Namespaces, 3, 3, PathBuf::new()).ports();
            let members = |first| (first..first + 9).collect::<Vec<u16>>();
            let mut all =
                vec![ports.api, ports.api_grpc, ports.controllers, ports.scheduler, ports.node, ports.node_health];
            for first in [ports.store_client, ports.store_peer, ports.store_health] {
                all.extend(members(first));
            }
            all
        };
        let mut all: Vec<u16> = (0..64).flat_map(ports_of).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
