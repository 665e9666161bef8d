//! One pod as an endpoint of a Service: its address, its ports, its conditions.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::{meta, pods};

/// The family of an address, as slices and Services name it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Family {
    IPv4,
    IPv6,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Self::IPv4 => "IPv4",
            Self::IPv6 => "IPv6",
        }
    }

    fn has(self, address: &str) -> bool {
        address.contains(':') == (self == Self::IPv6)
    }

    /// The families that a Service serves.
    pub fn of_service(service: &Service) -> Vec<Self> {
        let spec = service.spec.as_ref();
        let named = spec.and_then(|spec| spec.ip_families.as_deref()).unwrap_or_default();
        let mut families: Vec<Self> =
            named.iter().map(|name| if name == "IPv6" { Self::IPv6 } else { Self::IPv4 }).collect();
        if families.is_empty() {
            let address = spec.and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
            families.push(if Self::IPv6.has(address) { Self::IPv6 } else { Self::IPv4 });
        }
        families
    }
}

/// Whether the pod can be an endpoint at all: it has an address and has not ended.
pub fn is_candidate(pod: &Pod) -> bool {
    !pods::is_finished(pod) && !address_list(pod).is_empty()
}

fn address_list(pod: &Pod) -> Vec<&str> {
    let Some(status) = pod.status.as_ref() else {
        return Vec::new();
    };
    let listed = status.pod_ips.iter().flatten().map(|one| one.ip.as_str());
    let addresses: Vec<&str> = listed.filter(|address| !address.is_empty()).collect();
    match (addresses.is_empty(), status.pod_ip.as_deref()) {
        (true, Some(address)) if !address.is_empty() => vec![address],
        _ => addresses,
    }
}

/// The pod as an endpoint; nothing if it has no address of the family.
pub fn make(service: &Service, pod: &Arc<Pod>, family: Family, zone: Option<String>) -> Option<Endpoint> {
    let address = address_list(pod).into_iter().find(|address| family.has(address))?.to_owned();
    let spec = service.spec.as_ref();
    let publishes_unready = spec.and_then(|spec| spec.publish_not_ready_addresses) == Some(true);
    let serving = pods::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    Some(Endpoint {
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(publishes_unready || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname(service, pod),
        node_name: Some(pods::node_name(pod).to_owned()).filter(|name| !name.is_empty()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        }),
        zone,
        ..Default::default()
    })
}

/// A pod that names this Service as its subdomain is known under its own host name.
fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.as_deref().filter(|name| !name.is_empty())?;
    let subdomain = spec.subdomain.as_deref()?;
    (subdomain == meta::name(&service.metadata)).then(|| hostname.to_owned())
}

/// The ports of a Service as this pod has them. A port that the pod does not name is left out.
pub fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = target(port, pod)?;
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(number),
                protocol: Some(protocol(port).to_owned()),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .find(|one| one.name.as_deref() == Some(name) && one.protocol.as_deref().unwrap_or("TCP") == protocol(port))
        .map(|one| one.container_port)
}
