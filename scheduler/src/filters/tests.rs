use serde_json::{Value, json};

use super::*;
use crate::testing::{cluster, labelled_pod, node, place, pod};

fn verdict(cluster: &ClusterState, pod: &PodInfo, node: &str) -> Result<(), String> {
    let prepared = prepare(cluster, pod);
    let node = cluster.node(node).expect("a node");
    filter(&prepared, pod, node).map_err(|rejection| rejection.reasons.join(", "))
}

#[test]
fn a_node_is_judged_by_itself() {
    const UNMATCHED: &str = "node(s) didn't match Pod's node affinity/selector";
    let affinity = |expression: Value| {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}})
    };
    let port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80}]}]});
    let asks = |resource: &str, amount: &str| json!({"containers": [{"name": "c", "resources": {"requests": {resource: amount}}}]});
    let table: Vec<(Value, Result<(), &str>)> = vec![
        (json!({}), Ok(())),
        (json!({"nodeSelector": {"disk": "ssd"}}), Ok(())),
        (json!({"nodeSelector": {"disk": "hdd"}}), Err(UNMATCHED)),
        (affinity(json!({"key": "disk", "operator": "In", "values": ["ssd"]})), Ok(())),
        (affinity(json!({"key": "disk", "operator": "NotIn", "values": ["ssd"]})), Err(UNMATCHED)),
        (affinity(json!({"key": "gpu", "operator": "DoesNotExist"})), Ok(())),
        (affinity(json!({"key": "generation", "operator": "Gt", "values": ["3"]})), Ok(())),
        (affinity(json!({"key": "generation", "operator": "Lt", "values": ["3"]})), Err(UNMATCHED)),
        (port, Err("node(s) didn't have free ports for the requested pod ports")),
        (asks("cpu", "3"), Err("Insufficient cpu")),
        (asks("memory", "9Gi"), Err("Insufficient memory")),
        (asks("example.com/gpu", "1"), Err("Insufficient example.com/gpu")),
    ];
    let mut cluster = ClusterState::default();
    cluster.set_node(node("n", "4", json!({"disk": "ssd", "generation": "5"}), json!({})));
    let resident = json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": 80, "hostIP": "10.0.0.1"}],
        "resources": {"requests": {"cpu": "2"}}}]});
    place(&mut cluster, &pod("resident", resident), "n");
    for (spec, expected) in table {
        assert_eq!(verdict(&cluster, &pod("p", spec.clone()), "n"), expected.map_err(str::to_owned), "{spec}");
    }
}

#[test]
fn taints_are_tolerated_by_key_value_and_effect() {
    let taint = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
    let mut cluster = ClusterState::default();
    cluster.set_node(node("n", "4", json!({}), taint));
    let table = [
        (json!([]), false),
        (json!([{"operator": "Exists"}]), true),
        (json!([{"key": "k", "operator": "Exists"}]), true),
        (json!([{"key": "k", "value": "v"}]), true),
        (json!([{"key": "k", "value": "w"}]), false),
        (json!([{"key": "k", "operator": "Exists", "effect": "NoExecute"}]), false),
    ];
    for (tolerations, tolerated) in table {
        let pod = pod("p", json!({"tolerations": tolerations}));
        assert_eq!(verdict(&cluster, &pod, "n").is_ok(), tolerated, "{tolerations}");
    }
}

fn term(kind: &str, app: &str) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}]}}})
}

#[test]
fn pods_keep_together_and_apart() {
    let mut cluster = cluster(&["a", "b"]);
    place(&mut cluster, &labelled_pod("db", json!({"app": "db"}), term("podAntiAffinity", "noisy")), "a");
    let near = labelled_pod("p", json!({"app": "web"}), term("podAffinity", "db"));
    assert_eq!(verdict(&cluster, &near, "a"), Ok(()));
    assert_eq!(verdict(&cluster, &near, "b").unwrap_err(), "node(s) didn't match pod affinity rules");
    let apart = labelled_pod("p", json!({"app": "web"}), term("podAntiAffinity", "db"));
    assert_eq!(verdict(&cluster, &apart, "a").unwrap_err(), "node(s) didn't match pod anti-affinity rules");
    assert_eq!(verdict(&cluster, &apart, "b"), Ok(()));
    let noisy = labelled_pod("p", json!({"app": "noisy"}), json!({}));
    assert_eq!(verdict(&cluster, &noisy, "a").unwrap_err(), "node(s) didn't satisfy existing pods anti-affinity rules");
    let first = labelled_pod("p", json!({"app": "new"}), term("podAffinity", "new"));
    assert_eq!(verdict(&cluster, &first, "b"), Ok(()), "the first of its kind has nobody to be near to");
}

#[test]
fn a_required_spread_is_kept() {
    let spread = json!({"topologySpreadConstraints": [{"topologyKey": "kubernetes.io/hostname", "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let mut cluster = cluster(&["a", "b"]);
    let web = labelled_pod("p", json!({"app": "web"}), spread);
    place(&mut cluster, &labelled_pod("w1", json!({"app": "web"}), json!({})), "a");
    assert_eq!(verdict(&cluster, &web, "a").unwrap_err(), "node(s) didn't match pod topology spread constraints");
    assert_eq!(verdict(&cluster, &web, "b"), Ok(()));
}
