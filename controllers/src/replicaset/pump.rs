//! Which ReplicaSets a change concerns.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use keelson_client::informer::{Event, Informer};
use keelson_client::workqueue::WorkQueue;
use keelson_client::{Cached, ObjectKey};

use super::reconcile::ReplicaSets;
use crate::{meta, pods};

pub async fn follow_sets(sets: Informer<ReplicaSet>, queue: WorkQueue<ObjectKey>, controller: Arc<ReplicaSets>) {
    let mut changes = sets.subscribe();
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { new, .. } => queue.add(new.key()),
            Event::Deleted(set) => {
                controller.forget(&set.key());
                queue.add(set.key());
            }
            Event::Resync => sets.store().iter().for_each(|(key, _)| queue.add(key.clone())),
        }
    }
}

pub async fn follow_pods(
    pods: Informer<Pod>,
    sets: Informer<ReplicaSet>,
    queue: WorkQueue<ObjectKey>,
    controller: Arc<ReplicaSets>,
) {
    let mut changes = pods.subscribe();
    let follower = Follower { sets, queue, controller };
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { old, new } => follower.applied(old.as_deref(), &new),
            Event::Deleted(pod) => follower.deleted(&pod),
            Event::Resync => follower.sets.store().iter().for_each(|(key, _)| follower.queue.add(key.clone())),
        }
    }
}

struct Follower {
    sets: Informer<ReplicaSet>,
    queue: WorkQueue<ObjectKey>,
    controller: Arc<ReplicaSets>,
}

impl Follower {
    fn applied(&self, old: Option<&Pod>, new: &Pod) {
        let owner = self.owner(new);
        if old.is_none()
            && let Some(set) = &owner
        {
            self.controller.pod_appeared(&set.key());
        }
        // A pod on its way out is as good as deleted: it is replaced at once.
        if new.metadata.deletion_timestamp.is_some() {
            self.deleted(new);
            return;
        }
        if let Some(former) = old.and_then(|old| self.owner(old))
            && owner.as_ref().is_none_or(|owner| owner.metadata.uid != former.metadata.uid)
        {
            self.queue.add(former.key());
        }
        let Some(set) = owner else {
            self.offer(new);
            return;
        };
        self.queue.add(set.key());
        let min_ready = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
        let became_ready = pods::is_ready(new) && !old.is_some_and(pods::is_ready);
        if became_ready && min_ready > 0 {
            let seconds = u64::try_from(min_ready).unwrap_or(0) + 1;
            self.queue.add_after(set.key(), Duration::from_secs(seconds));
        }
    }

    fn deleted(&self, pod: &Pod) {
        let Some(set) = self.owner(pod) else {
            return;
        };
        self.controller.pod_left(&set.key(), meta::uid(&pod.metadata));
        self.queue.add(set.key());
    }

    /// The ReplicaSet that controls the pod, if it is the very one that the pod names.
    fn owner(&self, pod: &Pod) -> Option<Arc<ReplicaSet>> {
        let reference = meta::controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet")?;
        let set = self.sets.get(meta::namespace(&pod.metadata), &reference.name)?;
        (meta::uid(&set.metadata) == reference.uid).then_some(set)
    }

    /// A pod that nobody controls may fit a ReplicaSet, or several, of which one will win.
    fn offer(&self, pod: &Pod) {
        let namespace = meta::namespace(&pod.metadata);
        if meta::controller_of(&pod.metadata).is_some() || pod.metadata.labels.is_none() {
            return;
        }
        for set in self.sets.store().namespace(namespace) {
            let fits =
                set.spec.as_ref().is_some_and(|spec| meta::selects(&spec.selector, pod.metadata.labels.as_ref()));
            if fits {
                self.queue.add(set.key());
            }
        }
    }
}
