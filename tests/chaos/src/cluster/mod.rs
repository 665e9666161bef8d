//! A cluster of real raftstore processes, each in a network namespace and a directory of its own.
//!
//! The namespaces, links and mounts belong to this process and to nobody else: they have no names outside, and the
//! kernel takes them back when it ends, whatever its end. The members are killed with it.

mod bound;
mod disk;
mod member;
mod network;
mod operator;

use std::path::{Path, PathBuf};

pub use bound::bind;
pub use disk::{Disk, Fullness};
pub use member::{Member, Process};
pub use network::{Network, isolate, rules};
pub use operator::{Operator, connect};

use crate::{Error, Result};

/// How the members are to be.
#[derive(Clone, Debug)]
pub struct Shape {
    pub members: usize,
    /// The raftstore program.
    pub binary: PathBuf,
    /// Every member's directory is a small file system of its own, which can be filled.
    pub small_disks: bool,
    /// Flags for all members.
    pub flags: Vec<String>,
    /// Members may end by themselves: they are made to.
    pub may_die: bool,
    /// Environment for all members.
    pub environment: Vec<(String, String)>,
}

pub struct Cluster {
    pub network: Network,
    pub members: Vec<Member>,
    pub disks: Vec<Disk>,
    shape: Shape,
}

impl Cluster {
    /// Makes the places and starts the members.
    pub fn start(shape: Shape, directory: &Path) -> Result<Self> {
        let network = Network::new(shape.members)?;
        let mut cluster = Self { network, members: Vec::new(), disks: Vec::new(), shape };
        for place in 0..cluster.shape.members {
            let own = directory.join(format!("m{}", place + 1));
            std::fs::create_dir_all(&own).map_err(|error| Error::tried("make", own.display(), error))?;
            cluster.disks.push(Disk::prepare(&own, cluster.shape.small_disks)?);
            cluster.members.push(Member::new(place, own));
        }
        let founders: Vec<String> = cluster.members.iter().map(Member::as_founder).collect();
        let founders = founders.join(",");
        for place in 0..cluster.shape.members {
            cluster.members[place].flags = vec!["--initial-cluster".to_owned(), founders.clone()];
            cluster.launch(place)?;
        }
        Ok(cluster)
    }

    /// Starts a member that does not run.
    pub fn launch(&mut self, place: usize) -> Result<()> {
        let namespace = self.network.namespace(place);
        self.members[place].start(&self.shape, namespace)
    }

    pub fn may_die(&self) -> bool {
        self.shape.may_die
    }

    pub fn client_urls(&self) -> Vec<String> {
        self.members.iter().map(Member::client_url).collect()
    }
}
