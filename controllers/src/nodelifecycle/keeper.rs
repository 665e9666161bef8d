//! One round for one node: judge its heartbeat, write what follows.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use keelson_client::events::EventRecorder;
use keelson_client::informer::{Informer, index};
use keelson_client::{Client, ObjectKey, Patch, reference};
use parking_lot::Mutex;
use serde_json::json;

use super::health::{self, Heartbeat};
use super::taints::{self, Eviction};
use super::zones::{self, Pacer, Zones};
use super::{CONTROLLER, LEASE_NAMESPACE, Settings};
use crate::context::Context;
use crate::nodeipam::node_reference;
use crate::workers::{Error, Reconciler};
use crate::{meta, pods};

pub struct Keeper {
    client: Client,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    events: EventRecorder,
    settings: Settings,
    heartbeats: Mutex<HashMap<String, Heartbeat>>,
    pacer: Mutex<Pacer>,
}

impl Keeper {
    pub fn new(context: &Context, settings: Settings) -> Self {
        Self {
            client: context.client.clone(),
            nodes: context.nodes(),
            leases: context.node_leases(),
            pods: context.pods(),
            events: context.events(CONTROLLER),
            settings,
            heartbeats: Mutex::default(),
            pacer: Mutex::default(),
        }
    }

    /// Writes the conditions of a node that fell silent.
    async fn declare_silent(&self, node: &Node, conditions: Vec<NodeCondition>) -> Result<Node, Error> {
        let name = meta::name(&node.metadata);
        let was_ready = health::ready(node) == Some("True");
        let patch = Patch::Strategic(json!({
            "metadata": {"resourceVersion": node.metadata.resource_version},
            "status": {"conditions": conditions},
        }));
        let node = self.client.all::<Node>().patch_status(name, &patch).await?;
        if was_ready {
            tracing::warn!(node = name, "the node fell silent");
            let message = format!("Node {name} status is now: NodeNotReady");
            self.events.normal(&node_reference(name), "NodeNotReady", message);
        }
        Ok(node)
    }

    /// What may become of the node's NoExecute taints now, and when to ask again if it has to wait.
    fn eviction(&self, node: &Node) -> (Eviction, Option<Duration>) {
        if taints::evicting(node).is_none() {
            return (Eviction::Follow, None);
        }
        let store = self.nodes.store();
        let pace = self.settings.pace;
        let zones = Zones::survey(store.values().map(Arc::as_ref), pace);
        if zones.all_disrupted() {
            // A node elsewhere that recovers does not show on this one: look again.
            return (Eviction::Lift, Some(self.settings.period));
        }
        if taints::is_evicting(node) {
            return (Eviction::Follow, None);
        }
        let zone = zones::name(node);
        let turn = self.pacer.lock().take(&zone, zones.rate(&zone, pace), Instant::now());
        match turn {
            Ok(()) => (Eviction::Follow, None),
            Err(wait) => (Eviction::Hold, Some(wait.unwrap_or(self.settings.period))),
        }
    }

    async fn write_taints(&self, node: &Node) -> Result<Option<Duration>, Error> {
        let (eviction, again) = self.eviction(node);
        if let Some(wanted) = taints::plan(node, eviction, Timestamp::now()) {
            let patch = Patch::Merge(json!({
                "metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": wanted},
            }));
            self.client.all::<Node>().patch(meta::name(&node.metadata), &patch).await?;
        }
        Ok(again)
    }

    /// A silent node's pods serve nobody as far as can be known. While its agent speaks, readiness is the agent's word.
    async fn mark_pods_unready(&self, node: &str) -> Result<(), Error> {
        for pod in self.pods.by_index(index::NODE, node) {
            if !pods::is_ready(&pod) {
                continue;
            }
            let patch = Patch::Strategic(json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {"conditions": [{
                    "type": "Ready",
                    "status": "False",
                    "lastTransitionTime": meta::time(Timestamp::now()),
                }]},
            }));
            let api = self.client.namespaced::<Pod>(meta::namespace(&pod.metadata));
            match api.patch_status(meta::name(&pod.metadata), &patch).await {
                Err(error) if error.is_not_found() || error.is_conflict() => continue,
                outcome => drop(outcome?),
            }
            self.events.warning(&reference(pod.as_ref()), "NodeNotReady", "Node is not ready");
        }
        Ok(())
    }
}

impl Reconciler for Keeper {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, Error> {
        let name = key.name.as_ref();
        let Some(node) = self.nodes.get_key(key) else {
            self.heartbeats.lock().remove(name);
            return Ok(None);
        };
        let lease = self.leases.get(LEASE_NAMESPACE, name);
        let verdict = {
            let mut heartbeats = self.heartbeats.lock();
            let before = heartbeats.get(name);
            let verdict = health::judge(&node, lease.as_deref(), before, self.settings.grace, Timestamp::now());
            heartbeats.insert(name.to_owned(), verdict.heartbeat.clone());
            verdict
        };
        let node = match verdict.conditions {
            Some(conditions) => Arc::new(self.declare_silent(&node, conditions).await?),
            None => node,
        };
        let again = self.write_taints(&node).await?;
        if health::ready(&node) == Some("Unknown") {
            self.mark_pods_unready(name).await?;
        }
        Ok(verdict.look_again.into_iter().chain(again).min())
    }
}
