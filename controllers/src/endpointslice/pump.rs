//! Which Services a change concerns.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keelson_client::informer::{Event, Informer};
use keelson_client::workqueue::WorkQueue;
use keelson_client::{Cached, ObjectKey};

use super::{EndpointSlices, ZONE_LABEL, plan};
use crate::{meta, pods};

fn add_all(services: &Informer<Service>, queue: &WorkQueue<ObjectKey>) {
    services.store().iter().for_each(|(key, _)| queue.add(key.clone()));
}

/// A slice that somebody changed or deleted is put right again.
pub async fn follow_slices(
    slices: Informer<EndpointSlice>,
    services: Informer<Service>,
    queue: WorkQueue<ObjectKey>,
    controller: Arc<EndpointSlices>,
) {
    let mut changes = slices.subscribe();
    while let Some(event) = changes.next().await {
        let (slice, is_new) = match event {
            Event::Applied { old, new } => (new, old.is_none()),
            Event::Deleted(slice) => (slice, false),
            Event::Resync => {
                add_all(&services, &queue);
                continue;
            }
        };
        if let Some(service) = plan::service_of(&slice).filter(|_| plan::is_ours(&slice)) {
            let service = ObjectKey::new(meta::namespace(&slice.metadata), service);
            if is_new {
                controller.slice_appeared(&service);
            }
            queue.add(service);
        }
    }
}

/// A node's zone is told with each of its endpoints.
pub async fn follow_nodes(nodes: Informer<Node>, services: Informer<Service>, queue: WorkQueue<ObjectKey>) {
    let zone = |node: &Node| node.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE_LABEL)).cloned();
    let mut changes = nodes.subscribe();
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { old: Some(old), new } if zone(&old) == zone(&new) => {}
            Event::Applied { old: None, new } if zone(&new).is_none() => {}
            Event::Deleted(_) => {}
            Event::Applied { .. } | Event::Resync => add_all(&services, &queue),
        }
    }
}

pub async fn follow_pods(pods: Informer<Pod>, services: Informer<Service>, queue: WorkQueue<ObjectKey>) {
    let mut changes = pods.subscribe();
    while let Some(event) = changes.next().await {
        let (old, new) = match event {
            Event::Applied { old, new } => (old, Some(new)),
            Event::Deleted(pod) => (Some(pod), None),
            Event::Resync => {
                add_all(&services, &queue);
                continue;
            }
        };
        if let (Some(old), Some(new)) = (&old, &new)
            && old.metadata.labels == new.metadata.labels
            && seen_by_services(old) == seen_by_services(new)
        {
            continue;
        }
        let Some(namespace) = new.as_ref().or(old.as_ref()).map(|pod| meta::namespace(&pod.metadata).to_owned()) else {
            continue;
        };
        for service in services.store().namespace(&namespace) {
            let concerned = old.iter().chain(&new).any(|pod| selects(service, pod.metadata.labels.as_ref()));
            if concerned {
                queue.add(service.key());
            }
        }
    }
}

fn selects(service: &Service, labels: Option<&BTreeMap<String, String>>) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()).filter(|one| !one.is_empty());
    selector.is_some_and(|selector| {
        selector.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
    })
}

/// All of a pod that its endpoint shows and that can change while it lives.
fn seen_by_services(pod: &Pod) -> (bool, bool, bool, &str, Vec<&str>) {
    let status = pod.status.as_ref();
    let addresses = status.iter().flat_map(|status| status.pod_ips.iter().flatten()).map(|one| one.ip.as_str());
    (
        pods::is_ready(pod),
        pods::is_finished(pod),
        pod.metadata.deletion_timestamp.is_some(),
        pods::node_name(pod),
        addresses.collect(),
    )
}
