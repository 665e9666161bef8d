//! Node address management: every node has its part of the cluster's address range, and no two have the same.

mod ranges;

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, ObjectReference};
use keelson_client::events::EventRecorder;
use keelson_client::informer::{Event, Informer};
use keelson_client::workqueue::WorkQueue;
use keelson_client::{Cached, Client, ObjectKey, Patch};
use parking_lot::Mutex;
use serde_json::json;

use crate::context::Context;
use crate::meta;
use crate::workers::{Error, Reconciler};
pub use ranges::{Error as RangeError, Ranges};

pub const CONTROLLER: &str = "node-ipam-controller";

/// Starts the controller on this cluster range.
pub async fn start(context: &Context, ranges: Ranges) {
    let queue = context.queue();
    let nodes = context.nodes();
    nodes.synced().await;
    let controller = Arc::new(NodeIpam {
        client: context.client.clone(),
        nodes: nodes.clone(),
        events: context.events(CONTROLLER),
        ranges: Mutex::new(ranges),
    });
    // What nodes hold already is noted before the first part is given out.
    for node in nodes.store().values() {
        controller.note(node);
    }
    // One worker: parts are given out one after the other.
    context.start_workers(CONTROLLER, 1, &queue, controller.clone());
    context.spawn_vital(CONTROLLER, follow(nodes, queue, controller));
}

struct NodeIpam {
    client: Client,
    nodes: Informer<Node>,
    events: EventRecorder,
    ranges: Mutex<Ranges>,
}

fn cidrs(node: &Node) -> Vec<IpNet> {
    let Some(spec) = node.spec.as_ref() else {
        return Vec::new();
    };
    let listed = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
    let mut cidrs: Vec<IpNet> = listed.filter_map(|text| text.parse().ok()).collect();
    cidrs.sort();
    cidrs.dedup();
    cidrs
}

impl NodeIpam {
    fn note(&self, node: &Node) {
        let name = meta::name(&node.metadata);
        for cidr in cidrs(node) {
            if let Err(error) = self.ranges.lock().occupy(name, cidr) {
                tracing::warn!(node = name, %error, "a node's pod CIDR is not ours to manage");
            }
        }
    }
}

/// A reference to a node as events about nodes carry it: its name in the place of its uid.
pub fn node_reference(name: &str) -> ObjectReference {
    ObjectReference {
        kind: Some("Node".to_owned()),
        api_version: Some("v1".to_owned()),
        name: Some(name.to_owned()),
        uid: Some(name.to_owned()),
        ..Default::default()
    }
}

async fn follow(nodes: Informer<Node>, queue: WorkQueue<ObjectKey>, controller: Arc<NodeIpam>) {
    let mut changes = nodes.subscribe();
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { old: Some(old), new } if cidrs(&old) == cidrs(&new) && !cidrs(&new).is_empty() => {}
            Event::Applied { new, .. } => queue.add(new.key()),
            Event::Deleted(node) => controller.ranges.lock().release(meta::name(&node.metadata)),
            Event::Resync => nodes.store().iter().for_each(|(key, _)| queue.add(key.clone())),
        }
    }
}

impl Reconciler for NodeIpam {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, Error> {
        let Some(node) = self.nodes.get_key(key) else {
            self.ranges.lock().release(&key.name);
            return Ok(None);
        };
        let name = meta::name(&node.metadata);
        if !cidrs(&node).is_empty() {
            self.note(&node);
            return Ok(None);
        }
        let part = self.ranges.lock().allocate(name);
        let cidr = match part {
            Ok(cidr) => cidr,
            Err(error) => {
                let message = format!("Node {name} status is now: CIDRNotAvailable");
                self.events.normal(&node_reference(name), "CIDRNotAvailable", message);
                return Err(Error::Again(error.to_string()));
            }
        };
        // The API lets nobody change a pod CIDR that is set, so only the identity of the node needs to be certain. If
        // the write fails, or its answer is lost, the part stays held for this node and the next try offers it again.
        let patch = Patch::Merge(json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": cidr.to_string(), "podCIDRs": [cidr.to_string()]},
        }));
        match self.client.all::<Node>().patch(name, &patch).await {
            Err(error) if error.is_not_found() => Ok(None),
            outcome => Ok(outcome.map(|_| None)?),
        }
    }
}
