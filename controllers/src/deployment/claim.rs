//! Adoption and release of ReplicaSets by their Deployment.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use keelson_client::informer::{Informer, index};
use keelson_client::{Client, Patch};

use super::read;
use crate::context::ORPHANS;
use crate::meta;
use crate::ownership::{self, Claim, Claimant};
use crate::workers::Error;

/// The ReplicaSets that the Deployment controls, after adopting what fits and releasing what no longer does.
pub async fn claim(
    client: &Client,
    sets: &Informer<ReplicaSet>,
    deployment: &Deployment,
) -> Result<Vec<Arc<ReplicaSet>>, Error> {
    let Some(spec) = read::spec(deployment) else {
        return Ok(Vec::new());
    };
    let claimant =
        Claimant { meta: &deployment.metadata, api_version: "apps/v1", kind: "Deployment", selector: &spec.selector };
    let namespace = meta::namespace(&deployment.metadata);
    let snapshot = sets.store();
    let owned = snapshot.by_index(index::OWNER, meta::uid(&deployment.metadata));
    let free = snapshot.by_index(ORPHANS, namespace);
    let api = client.namespaced::<ReplicaSet>(namespace);
    let mut claimed = Vec::new();
    let mut live = None;
    for set in owned.chain(free) {
        match ownership::judge(claimant, &set.metadata) {
            Claim::Keep => claimed.push(set.clone()),
            Claim::Ignore => {}
            Claim::Adopt => {
                if live.is_none() {
                    live = Some(is_live(client, deployment).await?);
                }
                if live == Some(true) {
                    let patch = Patch::Strategic(ownership::adopt_patch(claimant, &set.metadata));
                    claimed.push(Arc::new(api.patch(meta::name(&set.metadata), &patch).await?));
                }
            }
            Claim::Release => {
                let patch = Patch::Strategic(ownership::release_patch(claimant, &set.metadata));
                match api.patch(meta::name(&set.metadata), &patch).await {
                    Err(error) if error.is_not_found() || error.is_invalid() => {}
                    outcome => drop(outcome?),
                }
            }
        }
    }
    Ok(claimed)
}

/// Asks the API server itself, so that a Deployment that is being deleted, or was replaced, adopts nothing.
async fn is_live(client: &Client, deployment: &Deployment) -> Result<bool, Error> {
    let api = client.namespaced::<Deployment>(meta::namespace(&deployment.metadata));
    let live = api.find(meta::name(&deployment.metadata)).await?;
    Ok(live
        .is_some_and(|live| live.metadata.uid == deployment.metadata.uid && live.metadata.deletion_timestamp.is_none()))
}
