//! A node with its pods and what they take of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use keelson_client::ObjectKey;

use super::{PodInfo, Resources};

/// Amounts are kept as sums, so that adding and removing a pod costs the same however many there are.
#[derive(Debug, Default)]
pub struct NodeInfo {
    /// `None` while pods are known on a node that is not.
    pub node: Option<Arc<Node>>,
    pub allocatable: Resources,
    pub requested: Resources,
    pub score_requested: Resources,
    pub pods: BTreeMap<ObjectKey, Arc<PodInfo>>,
    /// Sizes of the images on the node by name.
    pub images: BTreeMap<String, i64>,
    /// Pods of it with required anti-affinity.
    pub anti_affine_pods: usize,
}

impl NodeInfo {
    pub fn name(&self) -> &str {
        self.node.as_ref().and_then(|node| node.metadata.name.as_deref()).unwrap_or_default()
    }

    pub fn set_node(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        self.allocatable = Resources::of(status.and_then(|status| status.allocatable.as_ref()));
        self.images.clear();
        for image in status.and_then(|status| status.images.as_ref()).into_iter().flatten() {
            for name in image.names.iter().flatten() {
                self.images.insert(name.clone(), image.size_bytes.unwrap_or_default());
            }
        }
        self.node = Some(node);
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.as_ref()?.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    pub fn taints(&self) -> &[Taint] {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    pub fn is_unschedulable(&self) -> bool {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.unschedulable).unwrap_or_default()
    }

    pub fn add_pod(&mut self, pod: Arc<PodInfo>) {
        self.requested.add(&pod.requests);
        self.score_requested.add(&pod.score_requests);
        self.anti_affine_pods += usize::from(!pod.anti_affinity.is_empty());
        if let Some(old) = self.pods.insert(pod.key.clone(), pod) {
            self.discount(&old);
        }
    }

    pub fn remove_pod(&mut self, key: &ObjectKey) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(key)?;
        self.discount(&pod);
        Some(pod)
    }

    fn discount(&mut self, pod: &PodInfo) {
        self.requested.subtract(&pod.requests);
        self.score_requested.subtract(&pod.score_requests);
        self.anti_affine_pods -= usize::from(!pod.anti_affinity.is_empty());
    }

    /// A copy to try things on: without some of the pods.
    pub fn without<'a>(&self, pods: impl IntoIterator<Item = &'a ObjectKey>) -> NodeInfo {
        let mut copy = NodeInfo {
            node: self.node.clone(),
            allocatable: self.allocatable.clone(),
            requested: self.requested.clone(),
            score_requested: self.score_requested.clone(),
            pods: self.pods.clone(),
            images: BTreeMap::new(),
            anti_affine_pods: self.anti_affine_pods,
        };
        for key in pods {
            copy.remove_pod(key);
        }
        copy
    }
}
