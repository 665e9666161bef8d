//! A pod, reduced once to what decides where it may run.

use std::collections::BTreeMap;
use std::sync::Arc;

use keelson_client::{Cached, ObjectKey};
use keelson_objects::selector::label::Selector;

use super::affinity::{preferred, required, selector};
use super::resources::pod_requests;
use super::{AffinityTerm, Pod, PodSpec, Resources, WeightedTerm};

/// A port on the host that only one pod can have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    const ANY: &str = "0.0.0.0";

    /// All addresses conflict with each of them.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == Self::ANY || other.ip == Self::ANY)
    }
}

/// How evenly matching pods are to be spread over the values of a node label.
#[derive(Clone, Debug)]
pub struct SpreadConstraint {
    pub topology_key: String,
    pub max_skew: i64,
    pub min_domains: usize,
    pub required: bool,
    pub selector: Selector,
    /// Nodes that the pod's own node affinity rules out do not count (the default).
    pub honors_affinity: bool,
    /// Nodes with taints that the pod does not tolerate do not count.
    pub honors_taints: bool,
}

/// A pod with what follows from its spec.
#[derive(Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub key: ObjectKey,
    pub requests: Resources,
    /// The requests with a floor, for scores.
    pub score_requests: Resources,
    pub host_ports: Vec<HostPort>,
    pub priority: i32,
    pub affinity: Vec<AffinityTerm>,
    pub anti_affinity: Vec<AffinityTerm>,
    /// Preferred terms; those of anti-affinity have a negative weight.
    pub preferred_affinity: Vec<WeightedTerm>,
    pub spread: Vec<SpreadConstraint>,
}

impl PodInfo {
    pub fn new(pod: Arc<Pod>) -> PodInfo {
        let spec = &pod.spec;
        let affinity = spec.affinity.as_ref();
        let towards = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let away = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let mut preferred_affinity = Vec::new();
        if let Some(towards) = towards {
            let terms = towards.preferred_during_scheduling_ignored_during_execution.as_ref();
            preferred_affinity.extend(preferred(&pod, terms, 1));
        }
        if let Some(away) = away {
            let terms = away.preferred_during_scheduling_ignored_during_execution.as_ref();
            preferred_affinity.extend(preferred(&pod, terms, -1));
        }
        let required_terms = |terms| required(&pod, terms);
        PodInfo {
            key: pod.key(),
            requests: pod_requests(spec, false),
            score_requests: pod_requests(spec, true),
            host_ports: host_ports(spec),
            priority: spec.priority.unwrap_or_default(),
            affinity: towards.map_or_else(Vec::new, |terms| {
                required_terms(terms.required_during_scheduling_ignored_during_execution.as_ref())
            }),
            anti_affinity: away.map_or_else(Vec::new, |terms| {
                required_terms(terms.required_during_scheduling_ignored_during_execution.as_ref())
            }),
            preferred_affinity,
            spread: spread(&pod, spec),
            pod,
        }
    }

    pub fn spec(&self) -> &PodSpec {
        &self.pod.spec
    }

    pub fn labels(&self) -> &BTreeMap<String, String> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        self.pod.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    pub fn uid(&self) -> &str {
        self.pod.uid()
    }

    /// The node that the pod is bound to.
    pub fn node_name(&self) -> Option<&str> {
        self.spec().node_name.as_deref().filter(|name| !name.is_empty())
    }

    pub fn is_terminating(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The uid of the owner that manages the pod.
    pub fn controller(&self) -> Option<&str> {
        let owners = self.pod.metadata.owner_references.iter().flatten();
        owners.filter(|owner| owner.controller == Some(true)).map(|owner| owner.uid.as_str()).next()
    }

    pub fn can_preempt(&self) -> bool {
        self.spec().preemption_policy.as_deref() != Some("Never")
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let used = ports.filter_map(|port| {
        let number = port.host_port.filter(|number| *number > 0)?;
        let text = |value: &Option<String>, default: &str| {
            value.clone().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
        };
        Some(HostPort { ip: text(&port.host_ip, HostPort::ANY), protocol: text(&port.protocol, "TCP"), port: number })
    });
    used.collect()
}

fn spread(pod: &Pod, spec: &PodSpec) -> Vec<SpreadConstraint> {
    let constraints = spec.topology_spread_constraints.iter().flatten();
    let constraint = |constraint: &k8s_openapi::api::core::v1::TopologySpreadConstraint| {
        let mut of = constraint.label_selector.clone();
        // Keys whose value the incoming pod dictates (KEP-3243).
        for key in constraint.match_label_keys.iter().flatten() {
            let value = pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
            if let (Some(selector), Some(value)) = (&mut of, value) {
                selector.match_labels.get_or_insert_default().insert(key.clone(), value.clone());
            }
        }
        SpreadConstraint {
            topology_key: constraint.topology_key.clone(),
            max_skew: i64::from(constraint.max_skew),
            min_domains: usize::try_from(constraint.min_domains.unwrap_or(1)).unwrap_or(1),
            required: constraint.when_unsatisfiable == "DoNotSchedule",
            selector: selector(of.as_ref()),
            honors_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honors_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    };
    constraints.map(constraint).collect()
}
