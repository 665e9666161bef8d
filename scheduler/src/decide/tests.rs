use serde_json::json;

use super::*;
use crate::testing::{asking, cluster, labelled_pod, node, place, pod};

fn decided(cluster: &ClusterState, pod: &PodInfo) -> Result<String, String> {
    decide(cluster, pod, 0, |_| 0).map_err(|unfit| unfit.message())
}

#[test]
fn a_pod_that_fits_nowhere_learns_why_from_each_node() {
    let mut cluster = cluster(&["full"]);
    cluster.set_node(node(
        "t1",
        "4",
        json!({}),
        json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}),
    ));
    cluster.set_node(node("t2", "4", json!({}), json!({"taints": [{"key": "x", "effect": "NoExecute"}]})));
    cluster.set_node(node("cordoned", "4", json!({}), json!({"unschedulable": true})));
    place(&mut cluster, &asking("big", "3"), "full");
    assert_eq!(
        decided(&cluster, &asking("p", "2")).unwrap_err(),
        "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s)."
    );
    assert_eq!(
        decided(&ClusterState::default(), &pod("p", json!({}))).unwrap_err(),
        "no nodes available to schedule pods"
    );
}

#[test]
fn the_freer_node_is_chosen() {
    let mut cluster = cluster(&["a", "b"]);
    place(&mut cluster, &asking("x", "1"), "a");
    assert_eq!(decided(&cluster, &asking("p", "1")).unwrap(), "b");
}

#[test]
fn pods_of_one_controller_spread() {
    let mut cluster = cluster(&["a", "b", "c"]);
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for number in 0..9 {
        let mut owned = (*asking(&format!("p{number}"), "100m").pod).clone();
        owned.metadata.owner_references = Some(vec![
            serde_json::from_value(
                json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}),
            )
            .unwrap(),
        ]);
        let owned = std::sync::Arc::new(PodInfo::new(std::sync::Arc::new(owned)));
        let node = decided(&cluster, &owned).unwrap();
        cluster.assume(owned, &node);
        *counts.entry(node).or_default() += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [3, 3, 3]);
}

#[test]
fn an_assumed_pod_counts_until_it_is_forgotten() {
    let mut cluster = cluster(&["a"]);
    let first = asking("first", "3");
    let node = decided(&cluster, &first).unwrap();
    cluster.assume(first.clone(), &node);
    assert!(decided(&cluster, &asking("second", "3")).is_err());
    assert_eq!(cluster.forget(&first.key, first.uid()).as_deref(), Some("a"));
    assert!(decided(&cluster, &asking("second", "3")).is_ok());
}

#[test]
fn a_preferred_label_and_an_image_draw() {
    let mut cluster = cluster(&["a", "b"]);
    cluster.set_node(node("c", "4", json!({"disk": "ssd"}), json!({})));
    let preferring = pod(
        "p",
        json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}}]}}}),
    );
    assert_eq!(decided(&cluster, &preferring).unwrap(), "c");
    let mut with_image = (*node("b", "4", json!({}), json!({}))).clone();
    with_image.status.get_or_insert_default().images =
        Some(vec![serde_json::from_value(json!({"names": ["web:1"], "sizeBytes": 900_000_000})).unwrap()]);
    cluster.set_node(std::sync::Arc::new(with_image));
    let imaged = pod("p", json!({"containers": [{"name": "c", "image": "web:1"}]}));
    assert_eq!(decided(&cluster, &imaged).unwrap(), "b");
}

#[test]
fn pods_that_like_each_other_meet() {
    let mut cluster = cluster(&["a", "b"]);
    place(&mut cluster, &labelled_pod("db", json!({"app": "db"}), json!({})), "b");
    let near = pod(
        "p",
        json!({"affinity": {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}}]}}}),
    );
    assert_eq!(decided(&cluster, &near).unwrap(), "b");
}

#[test]
fn of_big_clusters_a_share_is_enough() {
    assert_eq!([50, 99, 100, 1000, 5000, 20000].map(enough), [50, 99, 100, 420, 500, 1000]);
}
