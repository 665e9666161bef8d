//! EndpointSlice (discovery.k8s.io/v1).

use std::collections::HashSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use keelson_objects::field::FieldError;
use serde_json::Value;

use super::endpoints::reachable_ip;
use super::fields::{Fields, FieldsMut};
use super::validation::{Errors, Path, meta, names, ports};
use crate::registry::{Cell, Column, Context, Kind, Strategy};
use crate::tables::cells;

const ENDPOINTS: usize = 1000;
const PORTS: usize = 20_000;
const ADDRESSES: usize = 100;
const TOPOLOGY_LABELS: usize = 16;
const ZONE_HINTS: usize = 8;
const UNSET: &str = "<unset>";

pub fn kind() -> Kind {
    Kind::new("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices")
        .with_generation()
        .columns(vec![
            cells::name_column(),
            Column::new(
                "AddressType",
                "string",
                "What the endpoints' addresses are.",
                Cell::Read(|slice, _| slice.text("addressType").into()),
            ),
            Column::new(
                "Ports",
                "string",
                "The ports of every endpoint.",
                Cell::Read(|slice, _| port_list(slice).into()),
            ),
            Column::new(
                "Endpoints",
                "string",
                "The endpoints' addresses.",
                Cell::Read(|slice, _| address_list(slice).into()),
            ),
            cells::age_column(),
        ])
        .strategy(EndpointSliceStrategy)
}

fn shorten(all: &[String]) -> String {
    const SHOWN: usize = 3;
    if all.is_empty() {
        return UNSET.to_owned();
    }
    let shown = all[..all.len().min(SHOWN)].join(",");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

fn port_list(slice: &Value) -> String {
    let ports: Vec<String> = slice
        .items("ports")
        .iter()
        .map(|port| port.int("port").map_or_else(|| "*".to_owned(), |number| number.to_string()))
        .collect();
    shorten(&ports)
}

fn address_list(slice: &Value) -> String {
    let addresses: Vec<String> =
        slice.items("endpoints").iter().flat_map(|endpoint| endpoint.strings("addresses")).map(str::to_owned).collect();
    shorten(&addresses)
}

struct EndpointSliceStrategy;

impl Strategy for EndpointSliceStrategy {
    fn default(&self, slice: &mut Value) {
        for port in slice.items_mut("ports") {
            port.put_if_absent("name", "");
            port.put_if_absent("protocol", "TCP");
        }
    }

    fn validate(&self, _context: &Context<'_>, slice: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let kind = slice.text("addressType");
        errors.one_of(&Path::root("addressType"), kind, &["IPv4", "IPv6", "FQDN"]);
        validate_endpoints(slice.items("endpoints"), kind, &Path::root("endpoints"), &mut errors);
        validate_ports(slice.items("ports"), &Path::root("ports"), &mut errors);
        errors.into_vec()
    }

    fn validate_update(&self, _context: &Context<'_>, slice: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        errors.immutable(&Path::root("addressType"), slice.sub("addressType"), old.sub("addressType"));
        errors.into_vec()
    }
}

fn validate_endpoints(endpoints: &[Value], kind: &str, path: &Path, errors: &mut Errors) {
    if endpoints.len() > ENDPOINTS {
        errors.too_many(path, endpoints.len(), ENDPOINTS);
        return;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = path.index(index);
        validate_addresses(endpoint, kind, &path.child("addresses"), errors);
        if endpoint.present("nodeName") {
            let node = endpoint.text("nodeName");
            errors.messages(&path.child("nodeName"), node, names::subdomain(node, false));
        }
        let topology = endpoint.sub("deprecatedTopology");
        let topology_path = path.child("deprecatedTopology");
        meta::labels(topology, &topology_path, errors);
        let labels = topology.as_object().map_or(0, |labels| labels.len());
        if labels > TOPOLOGY_LABELS {
            errors.too_many(&topology_path, labels, TOPOLOGY_LABELS);
        }
        if topology.present("kubernetes.io/hostname") {
            errors.invalid(
                &topology_path.key("kubernetes.io/hostname"),
                topology.text("kubernetes.io/hostname"),
                "may not be set",
            );
        }
        if endpoint.present("hostname") {
            let hostname = endpoint.text("hostname");
            errors.messages(&path.child("hostname"), hostname, names::dns1123_label(hostname));
        }
        validate_hints(endpoint.sub("hints"), &path.child("hints"), errors);
    }
}

fn validate_addresses(endpoint: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let addresses = endpoint.items("addresses");
    if addresses.is_empty() {
        errors.required(path, "must contain at least 1 address");
    } else if addresses.len() > ADDRESSES {
        errors.too_many(path, addresses.len(), ADDRESSES);
    }
    for (index, address) in endpoint.strings("addresses").enumerate() {
        let path = path.index(index);
        match kind {
            "IPv4" if address.parse::<Ipv4Addr>().is_err() => errors.invalid(&path, address, "must be an IPv4 address"),
            "IPv6" if address.parse::<Ipv6Addr>().is_err() => errors.invalid(&path, address, "must be an IPv6 address"),
            "IPv4" | "IPv6" => reachable_ip(address, &path, errors),
            "FQDN" => errors.messages(&path, address, names::dns1123_subdomain(address)),
            _ => {}
        }
    }
}

fn validate_hints(hints: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("forZones");
    let zones = hints.items("forZones");
    if zones.len() > ZONE_HINTS {
        errors.too_many(&path, zones.len(), ZONE_HINTS);
        return;
    }
    let mut seen = HashSet::new();
    for (index, zone) in zones.iter().enumerate() {
        let zone_path = path.index(index);
        let name = zone.text("name");
        if !seen.insert(name) {
            errors.duplicate(&zone_path.child("name"), name);
        }
        errors.messages(&zone_path.child("name"), name, names::label_value(name));
    }
}

fn validate_ports(all: &[Value], path: &Path, errors: &mut Errors) {
    if all.len() > PORTS {
        errors.too_many(path, all.len(), PORTS);
        return;
    }
    let mut seen = HashSet::new();
    for (index, port) in all.iter().enumerate() {
        let path = path.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            errors.messages(&path.child("name"), name, names::dns1123_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if let Some(number) = port.int("port") {
            ports::port_number(number, &path.child("port"), errors);
        }
        errors.one_of(&path.child("protocol"), port.text("protocol"), ports::PROTOCOLS);
        if port.present("appProtocol") {
            let protocol = port.text("appProtocol");
            errors.messages(&path.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_slice_shows_ports_and_addresses() {
        let slice = json!({"ports": [{"port": 80}, {}], "endpoints": [{"addresses": ["10.0.0.1", "10.0.0.2"]}]});
        assert_eq!(port_list(&slice), "80,*");
        assert_eq!(address_list(&slice), "10.0.0.1,10.0.0.2");
        assert_eq!(address_list(&json!({})), "<unset>");
    }

    #[test]
    fn addresses_are_of_the_slices_type() {
        let mut errors = Errors::new();
        let endpoints = [json!({"addresses": ["10.0.0.1"]}), json!({"addresses": ["::1"]}), json!({"addresses": []})];
        validate_endpoints(&endpoints, "IPv4", &Path::root("endpoints"), &mut errors);
        let texts: Vec<String> = errors.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "endpoints[1].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
                "endpoints[2].addresses: Required value: must contain at least 1 address",
            ]
        );
    }
}
