//! Which Deployments a change concerns.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::informer::{Event, Informer, index};
use keelson_client::workqueue::WorkQueue;
use keelson_client::{Cached, ObjectKey};

use super::read;
use crate::meta;

fn add_all(deployments: &Informer<Deployment>, queue: &WorkQueue<ObjectKey>) {
    deployments.store().iter().for_each(|(key, _)| queue.add(key.clone()));
}

pub async fn follow_deployments(deployments: Informer<Deployment>, queue: WorkQueue<ObjectKey>) {
    let mut changes = deployments.subscribe();
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { new, .. } => queue.add(new.key()),
            Event::Deleted(deployment) => queue.add(deployment.key()),
            Event::Resync => add_all(&deployments, &queue),
        }
    }
}

/// The Deployment that controls the object, if it is the very one that the object names.
fn owner(deployments: &Informer<Deployment>, object: &ObjectMeta) -> Option<Arc<Deployment>> {
    let reference = meta::controller_of(object).filter(|owner| owner.kind == "Deployment")?;
    let deployment = deployments.get(meta::namespace(object), &reference.name)?;
    (meta::uid(&deployment.metadata) == reference.uid).then_some(deployment)
}

pub async fn follow_sets(sets: Informer<ReplicaSet>, deployments: Informer<Deployment>, queue: WorkQueue<ObjectKey>) {
    let mut changes = sets.subscribe();
    while let Some(event) = changes.next().await {
        let (old, new) = match event {
            Event::Applied { old, new } => (old, new),
            Event::Deleted(set) => (None, set),
            Event::Resync => {
                add_all(&deployments, &queue);
                continue;
            }
        };
        let former = old.and_then(|old| owner(&deployments, &old.metadata));
        let present = owner(&deployments, &new.metadata);
        for deployment in former.iter().chain(&present) {
            queue.add(deployment.key());
        }
        if meta::controller_of(&new.metadata).is_none() {
            offer(&new, &deployments, &queue);
        }
    }
}

/// A ReplicaSet that nobody controls may fit a Deployment.
fn offer(set: &ReplicaSet, deployments: &Informer<Deployment>, queue: &WorkQueue<ObjectKey>) {
    for deployment in deployments.store().namespace(meta::namespace(&set.metadata)) {
        let selector = read::spec(deployment).map(|spec| &spec.selector);
        if selector.is_some_and(|selector| meta::selects(selector, set.metadata.labels.as_ref())) {
            queue.add(deployment.key());
        }
    }
}

/// A Deployment that recreates waits for its last old pod to go.
pub async fn follow_pods(
    pods: Informer<Pod>,
    sets: Informer<ReplicaSet>,
    deployments: Informer<Deployment>,
    queue: WorkQueue<ObjectKey>,
) {
    let mut changes = pods.subscribe();
    while let Some(event) = changes.next().await {
        let pod = match event {
            Event::Deleted(pod) => pod,
            Event::Applied { new, .. } if crate::pods::is_finished(&new) => new,
            Event::Applied { .. } => continue,
            Event::Resync => {
                add_all(&deployments, &queue);
                continue;
            }
        };
        let set = meta::controller_of(&pod.metadata)
            .and_then(|reference| sets.get(meta::namespace(&pod.metadata), &reference.name));
        let Some(deployment) = set.and_then(|set| owner(&deployments, &set.metadata)) else {
            continue;
        };
        let siblings = sets.by_index(index::OWNER, meta::uid(&deployment.metadata));
        let store = pods.store();
        let is_last = siblings
            .iter()
            .all(|set| store.by_index(index::OWNER, meta::uid(&set.metadata)).all(|pod| crate::pods::is_finished(pod)));
        if is_last && !read::is_rolling(&deployment) {
            queue.add(deployment.key());
        }
    }
}
