//! The pod garbage collector: pods of nodes that are gone, pods that never got a node, and the surplus of ended ones.

mod plan;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use keelson_client::informer::Informer;
use keelson_client::{Client, DeleteOptions, Error, Patch};
use serde_json::json;

use crate::context::Context;
use crate::{meta, pods};
use plan::Why;

pub const CONTROLLER: &str = "pod-garbage-collector-controller";

const PERIOD: Duration = Duration::from_secs(20);

/// A node has to be unknown for so long, and then absent by a live look, before its pods are taken for lost.
const QUARANTINE: Duration = Duration::from_secs(40);

/// Starts the collector; it keeps so many ended pods, zero meaning all.
pub async fn start(context: &Context, threshold: usize) {
    let (pods, nodes) = (context.pods(), context.nodes());
    pods.synced().await;
    nodes.synced().await;
    let mut collector =
        Collector { client: context.client.clone(), pods, nodes, threshold, unknown_since: HashMap::new() };
    context.spawn_vital(CONTROLLER, async move {
        loop {
            tokio::time::sleep(PERIOD).await;
            collector.round().await;
        }
    });
}

struct Collector {
    client: Client,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    threshold: usize,
    unknown_since: HashMap<String, Instant>,
}

impl Collector {
    async fn round(&mut self) {
        let pods: Vec<_> = self.pods.store().values().cloned().collect();
        let known: HashSet<String> =
            self.nodes.store().values().map(|node| meta::name(&node.metadata).to_owned()).collect();
        let unknown: HashSet<String> = plan::unknown_nodes(&pods, &known).into_iter().map(str::to_owned).collect();
        let gone = self.gone_nodes(unknown).await;
        for (pod, why) in plan::plan(&pods, |node| gone.contains(node), self.threshold) {
            if let Err(error) = self.collect(&pod, why).await {
                tracing::warn!(pod = meta::key(&pod.metadata), ?why, %error, "cannot collect a pod, trying again later");
            }
        }
    }

    /// Of the nodes that are not known, those that have been so for long and are absent by a live look.
    async fn gone_nodes(&mut self, unknown: HashSet<String>) -> HashSet<String> {
        self.unknown_since.retain(|node, _| unknown.contains(node));
        let mut gone = HashSet::new();
        for node in unknown {
            let since = *self.unknown_since.entry(node.clone()).or_insert_with(Instant::now);
            if since.elapsed() < QUARANTINE {
                continue;
            }
            match self.client.all::<Node>().find(&node).await {
                Ok(None) => drop(gone.insert(node)),
                Ok(Some(_)) => {}
                Err(error) => tracing::warn!(node, %error, "cannot look up a node"),
            }
        }
        gone
    }

    async fn collect(&self, pod: &Pod, why: Why) -> Result<(), Error> {
        let api = self.client.namespaced::<Pod>(meta::namespace(&pod.metadata));
        let name = meta::name(&pod.metadata);
        tracing::info!(pod = meta::key(&pod.metadata), ?why, "collecting a pod");
        if why == Why::NodeGone && !pods::is_finished(pod) {
            let patch = Patch::Strategic(json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {
                    "phase": "Failed",
                    "conditions": [{
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByPodGC",
                        "message": "PodGC: node no longer exists",
                        "lastTransitionTime": meta::time(Timestamp::now()),
                    }],
                },
            }));
            drop(api.patch_status(name, &patch).await?);
        }
        let options = DeleteOptions::of_uid(meta::uid(&pod.metadata)).grace_period_seconds(0);
        match api.delete(name, &options).await {
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            outcome => outcome,
        }
    }
}
