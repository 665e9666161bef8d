//! Claims on addresses and node ports.
//!
//! An address is claimed as upstream does it since 1.33: by an IPAddress object under its name, here created in the
//! very transaction that writes the service, so nothing can leak and nothing needs repair. A node port is claimed in
//! the same way under a key of its own.

use std::net::IpAddr;

use keelson_objects::field::FieldError;
use keelson_objects::status::StatusError;
use serde_json::{Value, json};

use super::{addresses, has_cluster_ip, has_node_ports, is_headless, lifecycle, node_ports};
use crate::kinds::fields::{Fields, FieldsMut};
use crate::kinds::validation::{Errors, Path};
use crate::registry::Context;
use crate::storage::Companion;

const ADDRESSES: &str = "/registry/ipaddresses/";
const NODE_PORTS: &str = "/registry/ranges/servicenodeports/";

/// What a service holds: addresses and node ports.
#[derive(Default)]
struct Held {
    addresses: Vec<String>,
    ports: Vec<i64>,
}

impl Held {
    fn of(service: &Value) -> Held {
        let spec = service.sub("spec");
        let mut held = Held::default();
        if has_cluster_ip(spec) && !is_headless(spec) {
            held.addresses.extend(spec.strings("clusterIPs").map(str::to_owned));
        }
        if has_node_ports(spec) {
            // one port number may serve two protocols of one service
            for port in spec.items("ports").iter().filter_map(|port| port.int("nodePort")).filter(|port| *port > 0) {
                if !held.ports.contains(&port) {
                    held.ports.push(port);
                }
            }
            held.ports.extend(spec.int("healthCheckNodePort").filter(|port| *port > 0));
        }
        held
    }
}

/// Allocates what the service lacks, claims what it did not hold before and gives up what it holds no more.
pub fn of_write(
    context: &Context<'_>,
    service: &mut Value,
    old: Option<&Value>,
) -> Result<Vec<Companion>, StatusError> {
    let before = old.map(Held::of).unwrap_or_default();
    let mut errors = Errors::new();
    let chosen = Held::of(service);
    check_chosen(context, service, &chosen, &before, &mut errors);
    if errors.is_empty() {
        allocate(context, service, &mut errors);
    }
    if !errors.is_empty() {
        return Err(invalid(context, service, errors.into_vec()));
    }

    let after = Held::of(service);
    let mut companions = Vec::new();
    for address in after.addresses.iter().filter(|address| !before.addresses.contains(address)) {
        let value = serde_json::to_vec(&address_object(context, service, address));
        let value = value.map_err(StatusError::internal)?.into();
        companions.push(Companion::Create { key: format!("{ADDRESSES}{address}"), value });
    }
    for port in after.ports.iter().filter(|port| !before.ports.contains(port)) {
        let metadata = service.sub("metadata");
        let value = json!({ "service": format!("{}/{}", context.namespace, metadata.text("name")) });
        companions.push(Companion::Create { key: format!("{NODE_PORTS}{port}"), value: value.to_string().into() });
    }
    companions.extend(releases(&before, &after));
    Ok(companions)
}

pub fn of_delete(service: &Value) -> Vec<Companion> {
    releases(&Held::of(service), &Held::default())
}

fn releases(before: &Held, after: &Held) -> Vec<Companion> {
    let addresses = before.addresses.iter().filter(|address| !after.addresses.contains(address));
    let ports = before.ports.iter().filter(|port| !after.ports.contains(port));
    addresses
        .map(|address| format!("{ADDRESSES}{address}"))
        .chain(ports.map(|port| format!("{NODE_PORTS}{port}")))
        .map(|key| Companion::Delete { key })
        .collect()
}

/// What the writer chose must lie in the ranges and be free.
fn check_chosen(context: &Context<'_>, service: &Value, chosen: &Held, before: &Held, errors: &mut Errors) {
    let spec = Path::root("spec");
    let range = context.cluster.settings().service_cidr;
    for address in chosen.addresses.iter().filter(|address| !before.addresses.contains(address)) {
        let Ok(ip) = address.parse::<IpAddr>() else { continue };
        let path = spec.child("clusterIPs");
        let shown = service.sub("spec").sub("clusterIPs").clone();
        if !addresses::belongs(range, ip) {
            errors.invalid(
                &path,
                shown,
                format!("failed to allocate IP {address}: the provided network does not match the current range"),
            );
        } else if is_mentioned(context, service, "clusterIP", &format!("\"{address}\"")) {
            errors.invalid(&path, shown, format!("failed to allocate IP {address}: provided IP is already allocated"));
        }
    }
    let ports_path = spec.child("ports");
    for (index, port) in service.sub("spec").items("ports").iter().enumerate() {
        let Some(number) = port.int("nodePort").filter(|number| *number > 0) else { continue };
        let path = ports_path.index(index);
        if !(node_ports::FIRST..=node_ports::LAST).contains(&number) {
            let detail = format!(
                "provided port is not in the valid range. The range of valid ports is {}-{}",
                node_ports::FIRST,
                node_ports::LAST
            );
            errors.invalid(&path.child("nodePort"), number, detail);
        } else if !before.ports.contains(&number) && is_mentioned(context, service, "nodePort", &number.to_string()) {
            errors.invalid(&path.child("nodePort"), number, "provided port is already allocated");
        }
    }
}

fn allocate(context: &Context<'_>, service: &mut Value, errors: &mut Errors) {
    let spec_path = Path::root("spec");
    let mut random = rand::rng();
    let range = context.cluster.settings().service_cidr;
    let spec = service.sub("spec");
    if has_cluster_ip(spec) && spec.items("clusterIPs").is_empty() {
        let is_taken = |ip: IpAddr| is_mentioned(context, service, "clusterIP", &format!("\"{ip}\""));
        match addresses::draw(range, &mut random, is_taken) {
            Some(address) => {
                let spec = service.object("spec");
                spec.put("clusterIP", address.to_string());
                spec.put("clusterIPs", json!([address.to_string()]));
            }
            None => errors.invalid(
                &spec_path.child("clusterIPs"),
                Value::Null,
                "failed to allocate a serviceIP: range is full",
            ),
        }
    }
    if !has_node_ports(service.sub("spec")) {
        return;
    }
    let mut drawn = Held::of(service).ports;
    for index in 0..service.sub("spec").items("ports").len() {
        if service.sub("spec").items("ports")[index].int("nodePort").unwrap_or(0) > 0 {
            continue;
        }
        let number = service.sub("spec").items("ports")[index].sub("port").clone();
        // another protocol on the same port shares the node port
        let sibling = service.sub("spec").items("ports").iter().find_map(|port| {
            (*port.sub("port") == number).then(|| port.int("nodePort").unwrap_or(0)).filter(|node| *node > 0)
        });
        let taken = |port: i64| drawn.contains(&port) || is_mentioned(context, service, "nodePort", &port.to_string());
        match sibling.or_else(|| node_ports::draw(&mut random, taken)) {
            Some(node) => {
                drawn.push(node);
                service.object("spec").items_mut("ports")[index].put("nodePort", node);
            }
            None => {
                let ports = spec_path.child("ports");
                let detail = "failed to allocate a nodePort: range is full";
                errors.invalid(&ports.index(index).child("nodePort"), 0, detail);
            }
        }
    }
    let needs_port = lifecycle::needs_health_check(service.sub("spec"));
    if needs_port && service.sub("spec").int("healthCheckNodePort").unwrap_or(0) == 0 {
        let taken = |port: i64| drawn.contains(&port) || is_mentioned(context, service, "nodePort", &port.to_string());
        if let Some(port) = node_ports::draw(&mut random, taken) {
            service.object("spec").put("healthCheckNodePort", port);
        }
    }
}

/// Whether a cached service other than this one has `"field":value` in its bytes. Cheaper than parsing every service,
/// and only a hint: it may err towards taken, and the claim in the store has the last word.
fn is_mentioned(context: &Context<'_>, service: &Value, field: &str, value: &str) -> bool {
    let needle = format!("\"{field}\":{value}");
    let name = service.sub("metadata").text("name");
    let Some(services) = context.cluster.snapshot("", "services") else { return false };
    services.iter().any(|entry| {
        let is_this = entry.namespace() == context.namespace && entry.name() == name;
        !is_this && mentions(entry.json(), needle.as_bytes())
    })
}

/// Whether the bytes hold the needle, not followed by a further digit.
fn mentions(bytes: &[u8], needle: &[u8]) -> bool {
    let ends_here = |rest: &[u8]| !rest.first().is_some_and(u8::is_ascii_digit);
    bytes
        .windows(needle.len())
        .enumerate()
        .any(|(at, window)| window == needle && ends_here(&bytes[at + needle.len()..]))
}

fn address_object(context: &Context<'_>, service: &Value, address: &str) -> Value {
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IPAddress",
        "metadata": {
            "name": address,
            "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": context.now,
            "labels": {
                "ipaddress.kubernetes.io/ip-family": family,
                "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
            },
        },
        "spec": { "parentRef": {
            "group": "",
            "resource": "services",
            "namespace": context.namespace,
            "name": service.sub("metadata").text("name"),
        } },
    })
}

fn invalid(context: &Context<'_>, service: &Value, errors: Vec<FieldError>) -> StatusError {
    StatusError::invalid(&context.kind.group, &context.kind.kind, service.sub("metadata").text("name"), &errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_whole() {
        assert!(mentions(br#"{"nodePort":30080}"#, br#""nodePort":30080"#));
        assert!(!mentions(br#"{"nodePort":300801}"#, br#""nodePort":30080"#));
        assert!(!mentions(br#"{"port":30080}"#, br#""nodePort":30080"#));
        assert!(mentions(br#"{"clusterIP":"10.0.0.1","x":1}"#, br#""clusterIP":"10.0.0.1""#));
    }

    #[test]
    fn a_deleted_service_gives_up_what_it_held() {
        let service = json!({"spec": {"type": "NodePort", "clusterIPs": ["10.0.0.1"],
            "ports": [{"nodePort": 30001}, {"nodePort": 30001}, {"nodePort": 30002}]}});
        let keys: Vec<String> = of_delete(&service)
            .into_iter()
            .map(|companion| match companion {
                Companion::Delete { key } => key,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            keys,
            [
                "/registry/ipaddresses/10.0.0.1",
                "/registry/ranges/servicenodeports/30001",
                "/registry/ranges/servicenodeports/30002",
            ]
        );
        assert!(of_delete(&json!({"spec": {"type": "ClusterIP", "clusterIPs": ["None"]}})).is_empty());
    }
}
