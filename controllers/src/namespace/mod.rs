//! The namespace controller: a namespace that is being deleted loses its content, then its finalizer.

mod delete;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use keelson_client::informer::Informer;
use keelson_client::{Client, ObjectKey, Patch};
use serde_json::json;

use crate::context::Context;
use crate::workers::{Error, Reconciler};
use crate::{follow, meta};

pub const CONTROLLER: &str = "namespace-controller";

/// Starts the controller with so many workers.
pub async fn start(context: &Context, workers: usize) {
    let queue = context.queue();
    let namespaces = context.namespaces();
    let controller = Arc::new(Namespaces { client: context.client.clone(), namespaces: namespaces.clone() });
    namespaces.synced().await;
    context.start_workers(CONTROLLER, workers, &queue, controller);
    context.spawn_vital(CONTROLLER, follow::objects(namespaces, queue));
}

struct Namespaces {
    client: Client,
    namespaces: Informer<Namespace>,
}

/// The first look at what is left comes so soon; with pods on their way out it comes later.
const SOON: Duration = Duration::from_millis(500);

impl Reconciler for Namespaces {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, Error> {
        let Some(namespace) = self.namespaces.get_key(key).filter(|namespace| plan::is_due(namespace)) else {
            return Ok(None);
        };
        let name = meta::name(&namespace.metadata);
        let api = self.client.all::<Namespace>();
        if namespace.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Terminating") {
            api.patch_status(name, &Patch::Merge(json!({"status": {"phase": "Terminating"}}))).await?;
        }
        let pass = delete::content(&self.client, name).await;
        if pass.is_done() {
            let finalized = plan::finalized(&namespace);
            return match api.update_subresource::<_, Namespace>(name, "finalize", &finalized).await {
                Err(error) if error.is_not_found() => Ok(None),
                // The cache is behind: the newer state comes by itself, or the back-off brings the next try.
                outcome => Ok(outcome.map(|_| None)?),
            };
        }
        if let Some(conditions) = pass.conditions(&namespace, Timestamp::now()) {
            match api.patch_status(name, &Patch::Merge(json!({"status": {"conditions": conditions}}))).await {
                Err(error) if error.is_not_found() => return Ok(None),
                outcome => drop(outcome?),
            }
        }
        if pass.waits() {
            // Halfway through the longest grace period: pods seldom need all of it.
            return Ok(Some(SOON.max(pass.patience / 2).min(Duration::from_secs(15))));
        }
        Err(Error::Again(pass.problem()))
    }
}
