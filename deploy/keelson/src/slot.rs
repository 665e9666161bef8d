//! Slots: small numbers that keep clusters on one machine apart. A slot is reserved by a file that names its cluster.

use std::fs::OpenOptions;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::cluster::{Cluster, Network};
use crate::error::{Error, Result};

const DIRECTORY: &str = "/run/keelson-slots";
/// More clusters than this on one machine are refused.
const SLOTS: u8 = 64;

fn reservation(slot: u8) -> PathBuf {
    Path::new(DIRECTORY).join(slot.to_string())
}

/// Reserves a slot for the cluster at `root`: the one that it has, the one that it `wants`, or the first whose ports
/// are free.
pub fn reserve(root: &Path, wanted: Option<u8>) -> Result<u8> {
    crate::files::directory(Path::new(DIRECTORY), 0o755)?;
    let lock = Path::new(DIRECTORY).join("lock");
    let file =
        OpenOptions::new().create(true).append(true).open(&lock).map_err(|error| Error::file("open", &lock, error))?;
    let _guard =
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| Error::tried("lock the slots", error))?;
    let root = root.to_string_lossy();
    let holder = |slot: u8| std::fs::read_to_string(reservation(slot)).ok();
    let claim = |slot: u8| crate::files::write(&reservation(slot), root.as_bytes(), 0o644).map(|()| slot);
    if let Some(slot) = wanted {
        return match holder(slot) {
            Some(other) if other != root && Path::new(&other).join("etc/keelson/cluster.json").exists() => {
                Err(Error::new(format!("the cluster's slot {slot} is in use by the cluster at {other}"))
                    .hint(format!("stop that one first: keelson down --root {other}")))
            }
            _ => claim(slot),
        };
    }
    for slot in 0..SLOTS {
        let free = match holder(slot) {
            Some(other) if other == root => true,
            // A reservation of a cluster that was deleted by hand is void.
            Some(other) => !Path::new(&other).join("etc/keelson/cluster.json").exists() && ports_are_free(slot),
            None => ports_are_free(slot),
        };
        if free {
            return claim(slot);
        }
    }
    Err(Error::new(format!("all {SLOTS} cluster slots of this machine are taken"))
        .hint("remove a cluster with `keelson down --purge --root DIR`"))
}

/// Gives the slot back.
pub fn release(slot: u8) -> Result<()> {
    crate::files::remove(&reservation(slot))
}

fn ports_are_free(slot: u8) -> bool {
    let ports = Cluster::new(slot, Network::Namespaces, 1, 1, PathBuf::new()).ports();
    [
        ports.api,
        ports.api_grpc,
        ports.controllers,
        ports.scheduler,
        ports.store_client,
        ports.store_peer,
        ports.node,
        ports.node_health,
    ]
    .into_iter()
    .all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}
