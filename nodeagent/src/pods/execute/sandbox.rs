//! Sandboxes: described from the pod's spec, made and let go.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::ContainerPort;

use super::super::mail::{Done, Failure};
use super::super::{cgroups, dns, spec};
use super::Job;
use crate::runtime::{PodIdentity, PortMapping, Protocol, SandboxSpec};

impl Job {
    pub(super) async fn create_sandbox(&self, attempt: u32) -> Result<Done, Failure> {
        if let Some(old) = &self.sandbox {
            self.events.pod_normal("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.");
            match self.context.runtime.stop_sandbox(&old.id).await {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        let spec = self.sandbox_spec(attempt);
        let permit = self.context.starts.acquire().await;
        let made = self.context.runtime.create_sandbox(&spec).await;
        drop(permit);
        made.map(Done::Sandbox).map_err(|error| {
            let message = format!("Failed to create pod sandbox: {error}");
            self.events.pod_warning("FailedCreatePodSandBox", &message);
            Failure::new(message)
        })
    }

    pub(super) async fn stop_sandbox(&self, id: Option<String>) -> Result<Done, Failure> {
        if let Some(id) = &id {
            match self.context.runtime.stop_sandbox(id).await {
                Err(error) if !error.is_not_found() => {
                    self.events.pod_warning("FailedKillPod", &format!("error killing pod: {error}"));
                    return Err(error.into());
                }
                _ => {}
            }
        }
        Ok(Done::SandboxGone(id))
    }

    pub(super) async fn remove_sandbox(&self, id: String) -> Result<Done, Failure> {
        match self.context.runtime.remove_sandbox(&id).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(Done::SandboxGone(Some(id))),
        }
    }

    pub(super) fn identity(&self) -> PodIdentity {
        PodIdentity {
            namespace: spec::namespace(&self.pod).to_owned(),
            name: spec::name(&self.pod).to_owned(),
            uid: spec::uid(&self.pod).to_owned(),
        }
    }

    fn sandbox_spec(&self, attempt: u32) -> SandboxSpec {
        let pod = spec::spec(&self.pod);
        let node = &self.context.node;
        // Without a resolv.conf of its own the node has nothing to hand on.
        let host = std::fs::read_to_string(&node.resolv_conf).unwrap_or_default();
        let host = dns::parse_resolv_conf(&host);
        let (hostname, fqdn) = dns::hostname(&self.pod, &node.name, &node.dns.domain);
        let aliases = pod.host_aliases.iter().flatten();
        let security = pod.security_context.as_ref();
        let sysctls = security.iter().flat_map(|security| security.sysctls.iter().flatten());
        let ports = spec::app_containers(&self.pod).iter().flat_map(|container| container.ports.iter().flatten());
        SandboxSpec {
            pod: self.identity(),
            attempt,
            cgroup_parent: cgroups::parent(&node.cgroup_root, &self.pod),
            resources: cgroups::of_pod(&self.pod),
            hostname,
            dns: dns::config(&self.pod, &node.dns, &host),
            fqdn,
            host_aliases: aliases
                .map(|alias| (alias.ip.clone(), alias.hostnames.clone().unwrap_or_default()))
                .collect(),
            directory: self.directory.clone(),
            host_network: pod.host_network.unwrap_or(false),
            host_pid: pod.host_pid.unwrap_or(false),
            host_ipc: pod.host_ipc.unwrap_or(false),
            share_process_namespace: pod.share_process_namespace.unwrap_or(false),
            sysctls: sysctls.map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
            port_mappings: ports.filter_map(port_mapping).collect(),
            annotations: BTreeMap::new(),
        }
    }
}

fn port_mapping(port: &ContainerPort) -> Option<PortMapping> {
    let host_port = port.host_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)?;
    let protocol = match port.protocol.as_deref() {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    Some(PortMapping {
        host_port,
        container_port: u16::try_from(port.container_port).ok()?,
        protocol,
        host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()),
    })
}
