//! All nodes and the pods on them, kept current in small steps.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use keelson_client::{Cached, ObjectKey};

use super::{NodeInfo, PodInfo};

/// What a change of a node can mean to a pod that fits nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeChange {
    /// Nothing that decides has changed: a heartbeat, say.
    Nothing,
    /// Something that may help.
    Relevant,
}

/// Where a pod is counted.
struct Place {
    node: String,
    uid: String,
    assumed: bool,
}

/// The cluster as the next decision sees it.
#[derive(Default)]
pub struct ClusterState {
    nodes: BTreeMap<String, NodeInfo>,
    places: HashMap<ObjectKey, Place>,
    namespaces: HashMap<String, BTreeMap<String, String>>,
    /// On how many nodes each image is.
    image_nodes: HashMap<String, usize>,
    ready_nodes: usize,
    /// Pods for which room is being made on a node.
    nominated: HashMap<ObjectKey, (String, Arc<PodInfo>)>,
}

impl ClusterState {
    /// Keeps the room that is made on `node` for this pod from pods of lower priority.
    pub fn nominate(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.nominated.insert(pod.key.clone(), (node.to_owned(), pod));
    }

    pub fn end_nomination(&mut self, key: &ObjectKey) {
        self.nominated.remove(key);
    }

    /// The node with the pods that are nominated to it and go before `pod`; `None` if there are none.
    pub fn with_nominated(&self, node: &NodeInfo, pod: &PodInfo) -> Option<NodeInfo> {
        if self.nominated.is_empty() {
            return None;
        }
        let mut before = self
            .nominated
            .values()
            .filter(|(place, other)| place == node.name() && other.priority >= pod.priority && other.key != pod.key);
        let first = before.next()?;
        let mut copy = node.without([]);
        for (_, other) in std::iter::once(first).chain(before) {
            copy.add_pod(other.clone());
        }
        Some(copy)
    }

    /// Nodes that exist, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.nodes.values().filter(|node| node.node.is_some())
    }

    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name).filter(|node| node.node.is_some())
    }

    pub fn node_count(&self) -> usize {
        self.ready_nodes
    }

    pub fn namespace_labels(&self, namespace: &str) -> Option<&BTreeMap<String, String>> {
        self.namespaces.get(namespace)
    }

    pub fn nodes_with_image(&self, image: &str) -> usize {
        self.image_nodes.get(image).copied().unwrap_or_default()
    }

    pub fn set_namespace(&mut self, name: &str, labels: Option<BTreeMap<String, String>>) {
        match labels {
            Some(labels) => self.namespaces.insert(name.to_owned(), labels),
            None => self.namespaces.remove(name),
        };
    }

    pub fn set_node(&mut self, node: Arc<Node>) -> NodeChange {
        let name = node.metadata.name.clone().unwrap_or_default();
        let info = self.nodes.entry(name).or_default();
        let change = match &info.node {
            Some(old) if !decides_otherwise(old, &node) => NodeChange::Nothing,
            _ => NodeChange::Relevant,
        };
        self.ready_nodes += usize::from(info.node.is_none());
        for image in info.images.keys() {
            decrement(&mut self.image_nodes, image);
        }
        info.set_node(node);
        for image in info.images.keys() {
            *self.image_nodes.entry(image.clone()).or_default() += 1;
        }
        change
    }

    /// The node is gone; its pods are still counted on it until they are gone, too.
    pub fn remove_node(&mut self, name: &str) {
        let Some(info) = self.nodes.get_mut(name) else { return };
        if info.node.take().is_none() {
            return;
        }
        self.ready_nodes -= 1;
        for image in std::mem::take(&mut info.images).keys() {
            decrement(&mut self.image_nodes, image);
        }
        if info.pods.is_empty() {
            self.nodes.remove(name);
        }
    }

    /// Counts a bound pod on its node, confirming it if it was assumed there. Gives the node back on which something
    /// became free.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) -> Option<String> {
        let node = pod.node_name()?.to_owned();
        let freed = match self.places.get(&pod.key) {
            Some(place) if place.node != node || place.uid != pod.uid() => self.remove_pod(&pod.key.clone()),
            _ => None,
        };
        let shrank = self
            .nodes
            .get(&node)
            .and_then(|info| info.pods.get(&pod.key))
            .is_some_and(|old| old.requests != pod.requests || old.labels() != pod.labels());
        let place = Place { node: node.clone(), uid: pod.uid().to_owned(), assumed: false };
        self.places.insert(pod.key.clone(), place);
        self.nodes.entry(node.clone()).or_default().add_pod(pod);
        freed.or_else(|| shrank.then_some(node))
    }

    /// Counts a pod on the node that it was just given.
    pub fn assume(&mut self, pod: Arc<PodInfo>, node: &str) {
        let place = Place { node: node.to_owned(), uid: pod.uid().to_owned(), assumed: true };
        self.nominated.remove(&pod.key);
        self.places.insert(pod.key.clone(), place);
        self.nodes.entry(node.to_owned()).or_default().add_pod(pod);
    }

    /// Whether the pod (with this uid) was given a node and is not seen bound yet.
    pub fn is_assumed(&self, key: &ObjectKey, uid: &str) -> bool {
        self.places.get(key).is_some_and(|place| place.assumed && place.uid == uid)
    }

    /// The binding did not come about.
    pub fn forget(&mut self, key: &ObjectKey, uid: &str) -> Option<String> {
        if self.is_assumed(key, uid) { self.remove_pod(key) } else { None }
    }

    /// Forgets an earlier pod of the same name; the node that it was counted on.
    pub fn remove_predecessor(&mut self, key: &ObjectKey, uid: &str) -> Option<String> {
        let is_other = self.places.get(key).is_some_and(|place| place.uid != uid);
        if is_other { self.remove_pod(key) } else { None }
    }

    /// The pod is gone or finished; the node that it was counted on.
    pub fn remove_pod(&mut self, key: &ObjectKey) -> Option<String> {
        self.nominated.remove(key);
        let place = self.places.remove(key)?;
        if let Some(info) = self.nodes.get_mut(&place.node) {
            info.remove_pod(key);
            if info.pods.is_empty() && info.node.is_none() {
                self.nodes.remove(&place.node);
            }
        }
        Some(place.node)
    }
}

fn decrement(counts: &mut HashMap<String, usize>, key: &str) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// Whether filters may see the new node otherwise than the old.
fn decides_otherwise(old: &Node, new: &Node) -> bool {
    let allocatable = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    old.uid() != new.uid()
        || old.spec.as_ref().map(|spec| (&spec.taints, spec.unschedulable))
            != new.spec.as_ref().map(|spec| (&spec.taints, spec.unschedulable))
        || old.metadata.labels != new.metadata.labels
        || allocatable(old) != allocatable(new)
}
