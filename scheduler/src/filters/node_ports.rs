//! A host port is had by one pod only.

use super::{Plugin, Rejection};
use crate::cluster::{NodeInfo, PodInfo};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    if pod.host_ports.is_empty() {
        return Ok(());
    }
    let mut taken = node.pods.values().flat_map(|other| &other.host_ports);
    match taken.any(|taken| pod.host_ports.iter().any(|wanted| wanted.conflicts(taken))) {
        true => {
            Err(Rejection::new(Plugin::NodePorts, "node(s) didn't have free ports for the requested pod ports", true))
        }
        false => Ok(()),
    }
}
