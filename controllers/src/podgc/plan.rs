//! Which pods nobody will clean up unless this controller does.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::{meta, pods};

/// Why a pod is collected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// Its node is gone, and with it whoever would report its end.
    NodeGone,
    /// It was being deleted before it got a node: no agent will confirm.
    NeverScheduled,
    /// It has ended, and more pods have ended than are kept.
    TooManyEnded,
}

/// The pods to collect. `is_gone` judges a node by name; `threshold` is how many ended pods are kept, zero for all.
pub fn plan(pods: &[Arc<Pod>], is_gone: impl Fn(&str) -> bool, threshold: usize) -> Vec<(Arc<Pod>, Why)> {
    let mut collected = Vec::new();
    let mut ended = Vec::new();
    for pod in pods {
        let node = pods::node_name(pod);
        if node.is_empty() {
            if pod.metadata.deletion_timestamp.is_some() {
                collected.push((pod.clone(), Why::NeverScheduled));
            }
        } else if is_gone(node) {
            collected.push((pod.clone(), Why::NodeGone));
            continue;
        }
        if pods::is_finished(pod) {
            ended.push(pod);
        }
    }
    let surplus = if threshold == 0 { 0 } else { ended.len().saturating_sub(threshold) };
    ended.sort_by_key(|pod| (!is_evicted(pod), meta::created(&pod.metadata), pod.metadata.name.clone()));
    collected.extend(ended.into_iter().take(surplus).map(|pod| (pod.clone(), Why::TooManyEnded)));
    collected
}

/// Evicted pods go before others: their logs and status tell least.
fn is_evicted(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.reason.as_deref()) == Some("Evicted")
}

/// The nodes that pods name and that are not known.
pub fn unknown_nodes<'a>(pods: &'a [Arc<Pod>], known: &HashSet<String>) -> HashSet<&'a str> {
    pods.iter().map(|pod| pods::node_name(pod)).filter(|node| !node.is_empty() && !known.contains(*node)).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{PodSpec, PodStatus};

    use super::*;

    fn pod(name: &str, node: &str, phase: &str, reason: Option<&str>) -> Arc<Pod> {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.into());
        pod.spec = Some(PodSpec { node_name: Some(node.into()), ..Default::default() });
        pod.status =
            Some(PodStatus { phase: Some(phase.into()), reason: reason.map(str::to_owned), ..Default::default() });
        Arc::new(pod)
    }

    #[test]
    fn collected() {
        let mut leaving = pod("never", "", "Pending", None).as_ref().clone();
        leaving.metadata.deletion_timestamp = Some(meta::time(jiff::Timestamp::UNIX_EPOCH));
        let pods = [
            pod("alive", "n1", "Running", None),
            pod("orphan", "gone", "Running", None),
            pod("pending", "", "Pending", None),
            Arc::new(leaving),
            pod("a", "n1", "Succeeded", None),
            pod("b", "n1", "Failed", Some("Evicted")),
            pod("c", "n1", "Failed", None),
        ];
        let collect = |threshold| -> Vec<(String, Why)> {
            plan(&pods, |node| node == "gone", threshold)
                .into_iter()
                .map(|(pod, why)| (meta::name(&pod.metadata).to_owned(), why))
                .collect()
        };
        let always = [("orphan".to_owned(), Why::NodeGone), ("never".to_owned(), Why::NeverScheduled)];
        assert_eq!(collect(0), always);
        assert_eq!(collect(3), always);
        assert_eq!(collect(2), [&always[..], &[("b".to_owned(), Why::TooManyEnded)]].concat());
        assert_eq!(
            collect(1),
            [&always[..], &[("b".to_owned(), Why::TooManyEnded), ("a".to_owned(), Why::TooManyEnded)]].concat()
        );
        assert_eq!(unknown_nodes(&pods, &HashSet::from(["n1".to_owned()])), HashSet::from(["gone"]));
    }
}
