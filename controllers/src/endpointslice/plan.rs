//! The EndpointSlices of one Service: which to make, change and delete so that they say what its pods are, with as few
//! changes as possible.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::endpoint::{self, Family};
use crate::{meta, ownership};

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";

#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub create: Vec<EndpointSlice>,
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

/// Whether this controller keeps slices for the Service.
pub fn is_served(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        spec.type_.as_deref() != Some("ExternalName") && spec.selector.as_ref().is_some_and(|one| !one.is_empty())
    })
}

/// Whether the slice is one of this controller's for the Service of that name.
pub fn is_ours(slice: &EndpointSlice) -> bool {
    label(slice, MANAGED_BY) == Some(MANAGER)
}

pub fn service_of(slice: &EndpointSlice) -> Option<&str> {
    label(slice, SERVICE_NAME)
}

fn label<'a>(slice: &'a EndpointSlice, key: &str) -> Option<&'a str> {
    slice.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// What a group of slices has in common.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Group {
    family: Family,
    /// The ports, each by all that it says, in order.
    ports: Vec<(String, Option<i32>, String, Option<String>)>,
}

impl Group {
    fn new(family: Family, ports: &[EndpointPort]) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut ports: Vec<_> = ports
            .iter()
            .map(|port| (text(&port.name), port.port, text(&port.protocol), port.app_protocol.clone()))
            .collect();
        ports.sort();
        Self { family, ports }
    }

    fn ports(&self) -> Vec<EndpointPort> {
        let port =
            |(name, port, protocol, app_protocol): &(String, Option<i32>, String, Option<String>)| EndpointPort {
                name: Some(name.clone()),
                port: *port,
                protocol: Some(protocol.clone()),
                app_protocol: app_protocol.clone(),
            };
        self.ports.iter().map(port).collect()
    }
}

/// Plans the slices of a Service. `pods` are those that its selector selects, `slices` those of this controller for it,
/// `zone` tells the zone of a node, and no slice gets more than `limit` endpoints.
pub fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    slices: &[Arc<EndpointSlice>],
    zone: impl Fn(&str) -> Option<String>,
    limit: usize,
) -> Plan {
    let mut plan = Plan::default();
    for family in Family::of_service(service) {
        let wanted = wanted(service, pods, family, &zone);
        let of_family = |slice: &&Arc<EndpointSlice>| slice.address_type == family.name();
        let present: Vec<Arc<EndpointSlice>> = slices.iter().filter(of_family).cloned().collect();
        plan_family(service, family, wanted, present, limit.max(1), &mut plan);
    }
    let families: Vec<&str> = Family::of_service(service).into_iter().map(Family::name).collect();
    plan.delete.extend(slices.iter().filter(|slice| !families.contains(&slice.address_type.as_str())).cloned());
    plan
}

type Wanted = BTreeMap<Group, BTreeMap<String, Endpoint>>;

fn wanted(service: &Service, pods: &[Arc<Pod>], family: Family, zone: &impl Fn(&str) -> Option<String>) -> Wanted {
    let mut wanted = Wanted::new();
    for pod in pods.iter().filter(|pod| endpoint::is_candidate(pod)) {
        let zone = zone(crate::pods::node_name(pod));
        let Some(made) = endpoint::make(service, pod, family, zone) else {
            continue;
        };
        let group = Group::new(family, &endpoint::ports(service, pod));
        wanted.entry(group).or_default().insert(meta::uid(&pod.metadata).to_owned(), made);
    }
    // A Service without endpoints has one empty slice, so that its readers know that it was looked at.
    if wanted.is_empty() {
        wanted.insert(Group::new(family, &[]), BTreeMap::new());
    }
    wanted
}

fn plan_family(
    service: &Service,
    family: Family,
    wanted: Wanted,
    present: Vec<Arc<EndpointSlice>>,
    limit: usize,
    plan: &mut Plan,
) {
    let mut by_group = BTreeMap::<Group, Vec<Arc<EndpointSlice>>>::new();
    for slice in present {
        let group = Group::new(family, slice.ports.as_deref().unwrap_or_default());
        by_group.entry(group).or_default().push(slice);
    }
    for (group, endpoints) in wanted {
        let slices = by_group.remove(&group).unwrap_or_default();
        plan_group(service, &group, endpoints, slices, limit, plan);
    }
    plan.delete.extend(by_group.into_values().flatten());
}

fn plan_group(
    service: &Service,
    group: &Group,
    mut missing: BTreeMap<String, Endpoint>,
    slices: Vec<Arc<EndpointSlice>>,
    limit: usize,
    plan: &mut Plan,
) {
    let placeholder = missing.is_empty();
    // What a slice has and is still wanted stays where it is.
    let mut kept: Vec<(Arc<EndpointSlice>, Vec<Endpoint>)> = Vec::new();
    for slice in slices {
        let endpoints = slice.endpoints.iter().flatten();
        let stay = endpoints.filter_map(|endpoint| missing.remove(pod_uid(endpoint)?)).collect();
        kept.push((slice, stay));
    }
    // New endpoints go where there is room, first where a write is due anyway.
    kept.sort_by_key(|(slice, endpoints)| slice.endpoints.as_ref() == Some(endpoints));
    let mut missing = missing.into_values();
    for (_, endpoints) in &mut kept {
        let room = limit.saturating_sub(endpoints.len());
        endpoints.extend(missing.by_ref().take(room));
    }
    let mut spare_placeholder = placeholder;
    for (slice, endpoints) in kept {
        if endpoints.is_empty() && !std::mem::take(&mut spare_placeholder) {
            plan.delete.push(slice);
            continue;
        }
        let updated = EndpointSlice {
            metadata: ObjectMeta {
                labels: Some(labels(service, slice.metadata.labels.as_ref())),
                ..slice.metadata.clone()
            },
            endpoints: Some(endpoints),
            ..slice.as_ref().clone()
        };
        if updated.metadata.labels != slice.metadata.labels || !same_endpoints(&updated, &slice) {
            plan.update.push(updated);
        }
    }
    let mut rest: Vec<Endpoint> = missing.collect();
    while !rest.is_empty() || spare_placeholder {
        spare_placeholder = false;
        let tail = rest.split_off(rest.len().min(limit));
        plan.create.push(new_slice(service, group, std::mem::replace(&mut rest, tail)));
    }
}

fn pod_uid(endpoint: &Endpoint) -> Option<&str> {
    endpoint.target_ref.as_ref()?.uid.as_deref()
}

fn same_endpoints(a: &EndpointSlice, b: &EndpointSlice) -> bool {
    a.endpoints.as_deref().unwrap_or_default() == b.endpoints.as_deref().unwrap_or_default()
}

/// The Service's own labels, and those that say whose the slice is.
fn labels(service: &Service, present: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    let spec = service.spec.as_ref();
    if spec.and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), meta::name(&service.metadata).to_owned());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    // Labels that others put on a slice stay.
    for (key, value) in present.into_iter().flatten().filter(|(key, _)| *key != HEADLESS) {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    labels
}

fn new_slice(service: &Service, group: &Group, endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", meta::name(&service.metadata))),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service, None)),
            owner_references: Some(vec![ownership::controller_reference(&service.metadata, "v1", "Service")]),
            ..Default::default()
        },
        address_type: group.family.name().to_owned(),
        ports: Some(group.ports()),
        endpoints: Some(endpoints),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
