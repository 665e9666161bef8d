//! The EndpointSlice controller: which pods a Service's traffic may go to.

mod endpoint;
mod plan;
mod pump;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keelson_client::informer::Informer;
use keelson_client::{Client, DeleteOptions, ObjectKey};

use crate::context::{Context, SERVICE};
use crate::expectations::Expectations;
use crate::meta;
use crate::workers::{Error, Reconciler};
pub use plan::service_of;

pub const CONTROLLER: &str = "endpointslice-controller";

const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// Writes for one Service that are under way at once.
const CONCURRENCY: usize = 8;

/// Starts the controller with so many workers; no slice gets more than `limit` endpoints.
pub async fn start(context: &Context, workers: usize, limit: usize) {
    let queue = context.queue();
    let (services, slices, pods) = (context.services(), context.endpoint_slices(), context.pods());
    let nodes = context.nodes();
    let controller = Arc::new(EndpointSlices {
        client: context.client.clone(),
        services: services.clone(),
        slices: slices.clone(),
        pods: pods.clone(),
        nodes: nodes.clone(),
        limit,
        expectations: Expectations::default(),
    });
    services.synced().await;
    slices.synced().await;
    pods.synced().await;
    nodes.synced().await;
    context.start_workers(CONTROLLER, workers, &queue, controller.clone());
    context.spawn_vital(CONTROLLER, crate::follow::objects(services.clone(), queue.clone()));
    context.spawn_vital(CONTROLLER, pump::follow_slices(slices, services.clone(), queue.clone(), controller));
    context.spawn_vital(CONTROLLER, pump::follow_nodes(nodes, services.clone(), queue.clone()));
    context.spawn_vital(CONTROLLER, pump::follow_pods(pods, services, queue));
}

struct EndpointSlices {
    client: Client,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    limit: usize,
    /// Slices have generated names: one that was made and is not seen yet would be made twice.
    expectations: Expectations,
}

impl EndpointSlices {
    fn zone(&self, node: &str) -> Option<String> {
        self.nodes.get("", node)?.metadata.labels.as_ref()?.get(ZONE_LABEL).cloned()
    }

    fn slice_appeared(&self, service: &ObjectKey) {
        self.expectations.creations_observed(&service.to_string(), 1);
    }

    async fn carry_out(&self, service: &ObjectKey, plan: plan::Plan) -> Result<(), Error> {
        let api = &self.client.namespaced::<EndpointSlice>(&service.namespace);
        let (service, expectations) = (&service.to_string(), &self.expectations);
        expectations.expect_creations(service, plan.create.len());
        let mut writes = Vec::new();
        for slice in plan.create {
            writes.push(Write::Create(slice));
        }
        writes.extend(plan.update.into_iter().map(Write::Update));
        // Deletions come last: an endpoint that moves is in two slices for a moment, and never in none.
        writes.extend(plan.delete.into_iter().map(Write::Delete));
        let outcomes: Vec<Result<(), keelson_client::Error>> = futures::stream::iter(writes)
            .map(|write| async move {
                match write {
                    Write::Create(slice) => {
                        let outcome = api.create(&slice).await;
                        if outcome.is_err() {
                            expectations.creations_observed(service, 1);
                        }
                        outcome.map(drop)
                    }
                    Write::Update(slice) => api.update(meta::name(&slice.metadata), &slice).await.map(drop),
                    Write::Delete(slice) => {
                        let options = DeleteOptions::of_uid(meta::uid(&slice.metadata));
                        match api.delete(meta::name(&slice.metadata), &options).await {
                            Err(error) if error.is_not_found() => Ok(()),
                            outcome => outcome,
                        }
                    }
                }
            })
            .buffered(CONCURRENCY)
            .collect()
            .await;
        for outcome in outcomes {
            match outcome {
                Err(error) if error.is_namespace_terminating() => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }
}

enum Write {
    Create(EndpointSlice),
    Update(EndpointSlice),
    Delete(Arc<EndpointSlice>),
}

impl Reconciler for EndpointSlices {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, Error> {
        // The slices of a Service that is gone follow it through their owner reference.
        let Some(service) = self.services.get_key(key).filter(|service| plan::is_served(service)) else {
            self.expectations.forget(&key.to_string());
            return Ok(None);
        };
        if service.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
        if !self.expectations.satisfied(&key.to_string()) {
            // What is awaited brings the Service back here.
            return Ok(None);
        }
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selected = |pod: &Arc<Pod>| {
            let labels = pod.metadata.labels.as_ref();
            selector.into_iter().flatten().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
        };
        let pods: Vec<_> = self.pods.store().namespace(&key.namespace).filter(|pod| selected(pod)).cloned().collect();
        let slices: Vec<_> = self
            .slices
            .by_index(SERVICE, &key.to_string())
            .into_iter()
            .filter(|slice| plan::is_ours(slice) && slice.metadata.deletion_timestamp.is_none())
            .collect();
        let plan = plan::plan(&service, &pods, &slices, |node| self.zone(node), self.limit);
        self.carry_out(key, plan).await?;
        Ok(None)
    }
}
