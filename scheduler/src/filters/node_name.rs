//! A pod that names its node runs there or nowhere.

use super::{Plugin, Rejection};
use crate::cluster::{NodeInfo, PodInfo};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    match pod.node_name() {
        Some(name) if name != node.name() => {
            Err(Rejection::new(Plugin::NodeName, "node(s) didn't match the requested node name", false))
        }
        _ => Ok(()),
    }
}
