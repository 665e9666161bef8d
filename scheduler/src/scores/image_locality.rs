//! Nodes that have the pod's images.

use super::MAX;
use crate::cluster::{ClusterState, NodeInfo, PodInfo};

const MEGABYTE: i64 = 1024 * 1024;
/// Less on the node than this makes no difference.
const LEAST: i64 = 23 * MEGABYTE;
/// More than this for each container is as good as all.
const MOST: i64 = 1000 * MEGABYTE;

pub(super) fn score(cluster: &ClusterState, pod: &PodInfo, node: &NodeInfo) -> i64 {
    let spec = pod.spec();
    let nodes = cluster.node_count().max(1);
    let mut sum = 0;
    let mut containers = 0;
    for container in spec.containers.iter().chain(spec.init_containers.iter().flatten()) {
        containers += 1;
        let image = normalized(container.image.as_deref().unwrap_or_default());
        if let Some(size) = node.images.get(&image) {
            // An image that is everywhere already draws more than one that would crowd a single node.
            sum += (*size as f64 * (cluster.nodes_with_image(&image) as f64 / nodes as f64)) as i64;
        }
    }
    let most = MOST * i64::max(containers, 1);
    MAX * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
}

/// A name without a tag means `latest`.
fn normalized(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
