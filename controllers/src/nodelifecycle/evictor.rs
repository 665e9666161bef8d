//! Deletes pods that do not tolerate their node's NoExecute taints, now or when their toleration ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use keelson_client::events::EventRecorder;
use keelson_client::informer::{Event, Informer, index};
use keelson_client::workqueue::WorkQueue;
use keelson_client::{Cached, Client, DeleteOptions, ObjectKey, Patch, reference};
use parking_lot::Mutex;
use serde_json::json;

use super::EVICTION_CONTROLLER;
use super::eviction::{self, Stay};
use super::taints;
use crate::context::Context;
use crate::workers::{Error, Reconciler};
use crate::{meta, pods};

const REASON: &str = "TaintManagerEviction";

pub struct Evictor {
    client: Client,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    events: EventRecorder,
    /// Since when a pod's time runs, by its uid.
    running: Mutex<HashMap<String, Instant>>,
}

impl Evictor {
    pub fn new(context: &Context) -> Self {
        Self {
            client: context.client.clone(),
            nodes: context.nodes(),
            pods: context.pods(),
            events: context.events(EVICTION_CONTROLLER),
            running: Mutex::default(),
        }
    }

    fn forget(&self, uid: &str) {
        self.running.lock().remove(uid);
    }

    /// How long the pod may still stay; nothing when nothing drives it away.
    fn time_left(&self, pod: &Pod, taints: &[k8s_openapi::api::core::v1::Taint]) -> Option<Duration> {
        let uid = meta::uid(&pod.metadata);
        match eviction::judge(pod, taints) {
            Stay::Not => Some(Duration::ZERO),
            Stay::For(time) => {
                let begun = *self.running.lock().entry(uid.to_owned()).or_insert_with(Instant::now);
                Some(time.saturating_sub(begun.elapsed()))
            }
            Stay::ForEver => {
                if self.running.lock().remove(uid).is_some() {
                    let message = format!("Cancelling deletion of Pod {}", meta::key(&pod.metadata));
                    self.events.normal(&reference(pod), REASON, message);
                }
                None
            }
        }
    }

    async fn evict(&self, pod: &Pod) -> Result<(), Error> {
        let message = format!("Marking for deletion Pod {}", meta::key(&pod.metadata));
        self.events.normal(&reference(pod), REASON, message);
        let api = self.client.namespaced::<Pod>(meta::namespace(&pod.metadata));
        let name = meta::name(&pod.metadata);
        let patch = Patch::Strategic(json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByTaintManager",
                "message": "Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": meta::time(Timestamp::now()),
            }]},
        }));
        match api.patch_status(name, &patch).await {
            Err(error) if error.is_not_found() => return Ok(()),
            outcome => drop(outcome?),
        }
        match api.delete(name, &DeleteOptions::of_uid(meta::uid(&pod.metadata))).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            outcome => Ok(outcome?),
        }
    }
}

pub async fn follow_nodes(nodes: Informer<Node>, pods: Informer<Pod>, queue: WorkQueue<ObjectKey>) {
    let mut changes = nodes.subscribe();
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { old: Some(old), new } if taints::all(&old) == taints::all(&new) => {}
            Event::Applied { new: node, .. } | Event::Deleted(node) => {
                let on_node = pods.by_index(index::NODE, meta::name(&node.metadata));
                on_node.iter().for_each(|pod| queue.add(pod.key()));
            }
            Event::Resync => pods.store().iter().for_each(|(key, _)| queue.add(key.clone())),
        }
    }
}

pub async fn follow_pods(pods: Informer<Pod>, queue: WorkQueue<ObjectKey>, evictor: Arc<Evictor>) {
    let what_counts = |pod: &Pod| {
        let spec = pod.spec.as_ref();
        (pods::node_name(pod).to_owned(), spec.and_then(|spec| spec.tolerations.clone()))
    };
    let mut changes = pods.subscribe();
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { old: Some(old), new } if what_counts(&old) == what_counts(&new) => {}
            Event::Applied { new, .. } if pods::node_name(&new).is_empty() => {}
            Event::Applied { new, .. } => queue.add(new.key()),
            Event::Deleted(pod) => evictor.forget(meta::uid(&pod.metadata)),
            Event::Resync => pods.store().iter().for_each(|(key, _)| queue.add(key.clone())),
        }
    }
}

impl Reconciler for Evictor {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, Error> {
        let Some(pod) = self.pods.get_key(key) else {
            return Ok(None);
        };
        if pod.metadata.deletion_timestamp.is_some() {
            self.forget(meta::uid(&pod.metadata));
            return Ok(None);
        }
        let Some(node) = self.nodes.get("", pods::node_name(&pod)) else {
            return Ok(None);
        };
        match self.time_left(&pod, taints::all(&node)) {
            Some(time) if time.is_zero() => {
                self.evict(&pod).await?;
                Ok(None)
            }
            rest => Ok(rest),
        }
    }
}
