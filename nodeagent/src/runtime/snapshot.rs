//! Root file systems of sandboxes and containers.
//!
//! A snapshot is made before the container that refers to it. A label keeps it from containerd's garbage collector in
//! between (a lease would cost two more synced writes a container); one that an agent died over is found by that
//! label and removed by [`super::Runtime::collect_garbage`].

use std::collections::{HashMap, HashSet};

use containerd_client::services::v1::snapshots::{
    ListSnapshotsRequest, MountsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest,
};
use containerd_client::types::Mount;

use super::containerd::{failed, missing_is_fine};
use super::{Error, Runtime};

const OWNER: &str = "keelson.dev/rootfs";
const ROOT: &str = "containerd.io/gc.root";

impl Runtime {
    pub(super) async fn prepare_snapshot(&self, key: &str, parent: &str) -> Result<Vec<Mount>, Error> {
        let request = PrepareSnapshotRequest {
            snapshotter: self.inner.options.snapshotter.clone(),
            key: key.to_string(),
            parent: parent.to_string(),
            labels: HashMap::from([OWNER, ROOT].map(|label| (label.to_string(), "agent".to_string()))),
        };
        let containerd = &self.inner.containerd;
        let answer = containerd.snapshots().prepare(containerd.request(request)).await;
        Ok(answer.map_err(failed("preparing snapshot"))?.into_inner().mounts)
    }

    pub(super) async fn snapshot_mounts(&self, key: &str) -> Result<Vec<Mount>, Error> {
        let request = MountsRequest { snapshotter: self.inner.options.snapshotter.clone(), key: key.to_string() };
        let containerd = &self.inner.containerd;
        let answer = containerd.snapshots().mounts(containerd.request(request)).await;
        Ok(answer.map_err(failed("reading mounts"))?.into_inner().mounts)
    }

    /// Gone already is no error.
    pub(super) async fn remove_snapshot(&self, key: &str) -> Result<(), Error> {
        let request =
            RemoveSnapshotRequest { snapshotter: self.inner.options.snapshotter.clone(), key: key.to_string() };
        let containerd = &self.inner.containerd;
        let answer = containerd.snapshots().remove(containerd.request(request)).await;
        missing_is_fine(answer, "removing snapshot").map(|_| ())
    }

    /// Those of ours that none of `containers` uses.
    pub(super) async fn orphaned_snapshots(&self, containers: &HashSet<String>) -> Result<Vec<String>, Error> {
        let request = ListSnapshotsRequest {
            snapshotter: self.inner.options.snapshotter.clone(),
            filters: vec![format!("labels.\"{OWNER}\"")],
        };
        let containerd = &self.inner.containerd;
        let answer = containerd.snapshots().list(containerd.request(request)).await;
        let mut stream = answer.map_err(failed("listing snapshots"))?.into_inner();
        let mut orphans = Vec::new();
        while let Some(part) = stream.message().await.map_err(failed("listing snapshots"))? {
            orphans.extend(part.info.into_iter().map(|info| info.name).filter(|name| !containers.contains(name)));
        }
        Ok(orphans)
    }
}
