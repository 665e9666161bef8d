use serde_json::json;

use super::*;
use crate::testing::{asking, cluster, node, place, pod};

#[test]
fn shares_are_of_the_highest() {
    assert_eq!(share_of_highest(vec![0, 1, 2], false), [0, 50, 100]);
    assert_eq!(share_of_highest(vec![0, 1, 2], true), [100, 50, 0]);
    assert_eq!(share_of_highest(vec![0, 0], true), [100, 100]);
}

#[test]
fn resources_score_by_what_is_free_and_even() {
    let mut cluster = cluster(&["a"]);
    place(&mut cluster, &asking("x", "1"), "a");
    let node = cluster.node("a").unwrap();
    // 2 of 4 CPUs free; of 8 GiB, two default requests of 200 MiB taken.
    assert_eq!(resources::least_allocated(&asking("p", "1"), node), (50 + 95) / 2);
    assert_eq!(resources::balanced(&asking("p", "1"), node), 75);
}

#[test]
fn soft_taints_repel() {
    let mut cluster = cluster(&["a"]);
    let taint = json!({"taints": [{"key": "k", "effect": "PreferNoSchedule"}]});
    cluster.set_node(node("b", "4", json!({}), taint));
    let nodes: Vec<&NodeInfo> = cluster.nodes().collect();
    let scores = score(&cluster, &pod("p", json!({})), &nodes);
    assert_eq!(scores[0] - scores[1], 3 * MAX);
}
