//! One execution of a probe's handler.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{exec, grpc, http, tcp};
use crate::runtime::Runtime;

/// What a single execution found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// Counts as success; with the text for the ProbeWarning event.
    Warning(String),
    /// With the text for the Unhealthy event.
    Failure(String),
    /// The probe itself could not be run: counts as nothing.
    Unknown(String),
}

/// Where the container is found.
#[derive(Clone)]
pub struct Target {
    pub runtime: Runtime,
    pub container_id: String,
    pub pod_ip: Option<IpAddr>,
    pub container: Container,
    /// `namespace/name`, for messages.
    pub pod: String,
}

pub async fn check(target: &Target, probe: &Probe, timeout: Duration) -> Outcome {
    if let Some(action) = &probe.exec {
        return exec::check(target, action, timeout).await;
    }
    if let Some(action) = &probe.http_get {
        let Some(port) = port(&action.port, &target.container) else { return no_port(&action.port) };
        return http::check(action, target.pod_ip, port, timeout).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let Some(port) = port(&action.port, &target.container) else { return no_port(&action.port) };
        let host = action.host.clone().filter(|host| !host.is_empty());
        let Some(host) = host.or(target.pod_ip.map(|ip| ip.to_string())) else { return no_address() };
        return tcp::check(&host, port, timeout).await;
    }
    if let Some(action) = &probe.grpc {
        let Some(ip) = target.pod_ip else { return no_address() };
        let Ok(port) = u16::try_from(action.port) else {
            return Outcome::Unknown(format!("invalid port number: {}", action.port));
        };
        return grpc::check(ip, port, action.service.as_deref().unwrap_or_default(), timeout).await;
    }
    Outcome::Unknown(format!("missing probe handler for {}:{}", target.pod, target.container.name))
}

fn no_port(port: &IntOrString) -> Outcome {
    let port = match port {
        IntOrString::Int(number) => number.to_string(),
        IntOrString::String(name) => name.clone(),
    };
    Outcome::Unknown(format!("couldn't find port: {port}"))
}

fn no_address() -> Outcome {
    Outcome::Unknown("the pod has no address".to_owned())
}

/// A port by number, or by its name in the container's list.
pub fn port(port: &IntOrString, container: &Container) -> Option<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match name.parse() {
            Ok(number) => number,
            Err(_) => container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name))?.container_port,
        },
    };
    u16::try_from(number).ok().filter(|port| *port > 0)
}
