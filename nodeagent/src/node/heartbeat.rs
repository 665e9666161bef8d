//! Keeps the cluster informed of the node: registration, Lease, status.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerImage, Node, NodeCondition, NodeStatus, ObjectReference};
use keelson_process::BoxError;
use keelson_process::health::HealthCheck;
use tokio::sync::Notify;

use super::conditions::{self, Findings};
use super::object::{Description, status_patch};
use super::{lease, pressure};
use crate::context::Context;

/// An unchanged status is reported again after this long.
const REPORT_EVERY: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_millis(200);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// Images that the status lists at most (`--node-status-max-images` of the kubelet).
const MAX_IMAGES: usize = 50;

pub struct Heartbeat {
    pub context: Context,
    pub description: Description,
    pub thresholds: pressure::Thresholds,
    pub period: Duration,
    /// Something of the node changed: look now.
    pub changed: Arc<Notify>,
    pub registered: HealthCheck,
}

impl Heartbeat {
    /// Runs until the process stops.
    pub async fn run(self) -> Result<(), BoxError> {
        let Some(node) = self.register().await else { return Ok(()) };
        self.registered.set_ok();
        self.announce("Starting", "Starting kubelet.");
        let uid = node.metadata.uid.clone().unwrap_or_default();
        let mut known = node.status.unwrap_or_default();
        let mut reported_at = None;
        let mut ticks = tokio::time::interval(self.period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let beat = tokio::select! {
                _ = ticks.tick() => true,
                () = self.changed.notified() => false,
                () = self.context.process.shutdown.begun() => return Ok(()),
            };
            if beat && let Err(error) = lease::renew(&self.context.client, &self.description.name, &uid).await {
                tracing::warn!(%error, "cannot renew the node's lease");
            }
            match self.report(&mut known, reported_at).await {
                Ok(true) => reported_at = Some(Instant::now()),
                Ok(false) => {}
                // The node was deleted: it comes back, as the kubelet's would after a restart.
                Err(error) if error.is_not_found() => {
                    let Some(node) = self.register().await else { return Ok(()) };
                    known = node.status.unwrap_or_default();
                    reported_at = None;
                }
                Err(error) => tracing::warn!(%error, "cannot report the node's status"),
            }
        }
    }

    /// Tries until the API server takes it; `None` when the process stops before.
    async fn register(&self) -> Option<Node> {
        let mut wait = RETRY;
        loop {
            let status = self.status(&[]).await;
            match self.description.register(&self.context.client, status).await {
                Ok(node) => {
                    tracing::info!(node = self.description.name, "registered");
                    return Some(node);
                }
                Err(error) => tracing::warn!(%error, "cannot register the node yet"),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(LONGEST_RETRY),
                () = self.context.process.shutdown.begun() => return None,
            }
        }
    }

    /// Reports what changed, or everything that ages if it is time. True if something was sent.
    async fn report(
        &self,
        known: &mut NodeStatus,
        reported_at: Option<Instant>,
    ) -> Result<bool, keelson_client::Error> {
        let before = known.conditions.clone().unwrap_or_default();
        let mut wanted = self.status(&before).await;
        let now = wanted.conditions.clone().unwrap_or_default();
        let aged = reported_at.is_none_or(|at| at.elapsed() >= REPORT_EVERY);
        if !aged && conditions::say_the_same(&owned(&before), &now) {
            // Nothing but the time would change.
            wanted.conditions.clone_from(&known.conditions);
        }
        let Some(patch) = status_patch(known, &wanted) else { return Ok(false) };
        let node = self.context.client.all::<Node>().patch_status(&self.description.name, &patch).await?;
        if is_ready(&now) && !is_ready(&before) {
            self.announce("NodeReady", &format!("Node {} status is now: NodeReady", self.description.name));
        }
        *known = node.status.unwrap_or(wanted);
        Ok(true)
    }

    async fn status(&self, previous: &[NodeCondition]) -> NodeStatus {
        let runtime = &self.context.runtime;
        let images = runtime.images().await;
        let findings = Findings {
            pressure: pressure::read(&self.context.node.root_dir, &self.thresholds).unwrap_or_else(|error| {
                tracing::warn!(%error, "cannot read the node's resources");
                pressure::Pressure::default()
            }),
            runtime: images.as_ref().map(drop).map_err(ToString::to_string),
            network: runtime.network_ready().await,
        };
        NodeStatus {
            conditions: Some(conditions::conditions(&findings, previous, Timestamp::now())),
            images: Some(list_images(images.unwrap_or_default())),
            ..self.description.status()
        }
    }

    fn announce(&self, reason: &str, message: &str) {
        let name = &self.description.name;
        let node = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(name.clone()),
            // Upstream's events of nodes carry the name for the uid, and clients look for that.
            uid: Some(name.clone()),
            ..ObjectReference::default()
        };
        self.context.recorder.normal(&node, reason, message);
    }
}

/// The conditions that this agent writes.
fn owned(all: &[NodeCondition]) -> Vec<NodeCondition> {
    let kinds = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];
    kinds.iter().filter_map(|kind| all.iter().find(|condition| condition.type_ == *kind)).cloned().collect()
}

fn is_ready(all: &[NodeCondition]) -> bool {
    all.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// The largest images first, as upstream lists them.
fn list_images(mut images: Vec<crate::runtime::Image>) -> Vec<ContainerImage> {
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.names.cmp(&b.names)));
    images.dedup_by(|a, b| a.names == b.names);
    let listed = images
        .into_iter()
        .take(MAX_IMAGES)
        .map(|image| ContainerImage { names: Some(image.names), size_bytes: i64::try_from(image.size).ok() });
    listed.collect()
}
