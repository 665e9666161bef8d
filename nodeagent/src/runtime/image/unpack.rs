//! From layers to a snapshot that containers start from.

use std::collections::HashMap;

use containerd_client::services::v1::ApplyRequest;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use containerd_client::types;
use tonic::Code;

use super::platform::Descriptor;
use crate::runtime::Error;
use crate::runtime::containerd::{Containerd, Lease, failed, missing_is_fine};

impl Containerd {
    pub async fn has_snapshot(&self, snapshotter: &str, name: &str) -> Result<bool, Error> {
        let request = StatSnapshotRequest { snapshotter: snapshotter.to_string(), key: name.to_string() };
        let answer = self.snapshots().stat(self.request(request)).await;
        Ok(missing_is_fine(answer, "looking for snapshot")?.is_some())
    }

    /// Applies `layer` on `parent` and commits it as `chain_id`. Two at once are fine: one wins.
    pub async fn unpack_layer(
        &self,
        snapshotter: &str,
        layer: &Descriptor,
        diff_id: &str,
        parent: &str,
        chain_id: &str,
        lease: &Lease,
    ) -> Result<(), Error> {
        let key = format!("keelson-extract-{} {chain_id}", crate::runtime::random_id(8));
        let request = PrepareSnapshotRequest {
            snapshotter: snapshotter.to_string(),
            key: key.clone(),
            parent: parent.to_string(),
            labels: HashMap::new(),
        };
        let prepared = self.snapshots().prepare(self.leased(request, lease)).await;
        let mounts = prepared.map_err(failed("preparing snapshot"))?.into_inner().mounts;
        let outcome = self.apply_and_commit(snapshotter, layer, diff_id, chain_id, &key, mounts, lease).await;
        if outcome.is_err() {
            let request = RemoveSnapshotRequest { snapshotter: snapshotter.to_string(), key };
            let _ = self.snapshots().remove(self.request(request)).await;
        }
        outcome
    }

    #[allow(clippy::too_many_arguments)]
    async fn apply_and_commit(
        &self,
        snapshotter: &str,
        layer: &Descriptor,
        diff_id: &str,
        chain_id: &str,
        key: &str,
        mounts: Vec<types::Mount>,
        lease: &Lease,
    ) -> Result<(), Error> {
        let diff = types::Descriptor {
            media_type: layer.media_type.clone(),
            digest: layer.digest.clone(),
            size: layer.size,
            annotations: HashMap::new(),
        };
        let request = ApplyRequest { diff: Some(diff), mounts, ..ApplyRequest::default() };
        let applied = self.diff().apply(self.leased(request, lease)).await.map_err(failed("applying layer"))?;
        let applied = applied.into_inner().applied.unwrap_or_default();
        if applied.digest != diff_id {
            return Err(Error::InvalidSpec(format!("wrong diff id calculated on extraction {:?}", applied.digest)));
        }
        let request = CommitSnapshotRequest {
            snapshotter: snapshotter.to_string(),
            name: chain_id.to_string(),
            key: key.to_string(),
            labels: HashMap::new(),
        };
        match self.snapshots().commit(self.leased(request, lease)).await {
            Err(status) if status.code() == Code::AlreadyExists => {
                let request = RemoveSnapshotRequest { snapshotter: snapshotter.to_string(), key: key.to_string() };
                let _ = self.snapshots().remove(self.request(request)).await;
                Ok(())
            }
            Err(status) => Err(failed("committing snapshot")(status)),
            Ok(_) => Ok(()),
        }
    }
}
