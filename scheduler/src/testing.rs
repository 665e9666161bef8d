//! Objects for the tables of this crate's tests.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use serde_json::{Value, json};

use crate::cluster::{ClusterState, Pod, PodInfo};

pub fn object(name: &str, labels: Value, spec: Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "labels": labels},
        "spec": spec,
    })
}

/// A pod of one container `c` unless the spec names others.
pub fn labelled_pod(name: &str, labels: Value, mut spec: Value) -> Arc<PodInfo> {
    if spec.get("containers").is_none() {
        spec["containers"] = json!([{"name": "c"}]);
    }
    let pod: Pod = serde_json::from_value(object(name, labels, spec)).expect("a pod");
    Arc::new(PodInfo::new(Arc::new(pod)))
}

pub fn pod(name: &str, spec: Value) -> Arc<PodInfo> {
    labelled_pod(name, json!({}), spec)
}

/// A pod that asks for CPU.
pub fn asking(name: &str, cpu: &str) -> Arc<PodInfo> {
    pod(name, json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}))
}

pub fn node(name: &str, cpu: &str, labels: Value, spec: Value) -> Arc<Node> {
    let mut node = object(name, labels, spec);
    node["metadata"]["labels"]["kubernetes.io/hostname"] = name.into();
    node["status"] = json!({"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}});
    Arc::new(serde_json::from_value(node).expect("a node"))
}

/// Nodes of 4 CPUs each.
pub fn cluster(names: &[&str]) -> ClusterState {
    let mut cluster = ClusterState::default();
    for name in names {
        cluster.set_node(node(name, "4", json!({}), json!({})));
    }
    cluster
}

/// Puts a pod on a node.
pub fn place(cluster: &mut ClusterState, pod: &Arc<PodInfo>, node: &str) {
    let mut bound = (*pod.pod).clone();
    bound.spec.node_name = Some(node.to_owned());
    cluster.set_pod(Arc::new(PodInfo::new(Arc::new(bound))));
}
