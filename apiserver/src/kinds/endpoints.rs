//! Endpoints (core/v1), the older form of EndpointSlice.

use std::net::IpAddr;

use keelson_objects::field::FieldError;
use serde_json::Value;

use super::fields::{Fields, FieldsMut};
use super::validation::{Errors, Path, names, ports};
use crate::registry::{Cell, Column, Context, Kind, Strategy};
use crate::tables::cells;

pub fn kind() -> Kind {
    Kind::new("", "v1", "Endpoints", "endpoints")
        .short_names(&["ep"])
        .storage_prefix("/registry/services/endpoints/")
        .columns(vec![
            cells::name_column(),
            Column::new(
                "Endpoints",
                "string",
                "Addresses with their ports.",
                Cell::Read(|endpoints, _| addresses(endpoints).into()),
            ),
            cells::age_column(),
        ])
        .strategy(EndpointsStrategy)
}

/// The first three, and how many more.
fn addresses(endpoints: &Value) -> String {
    const SHOWN: usize = 3;
    let mut all = Vec::new();
    for subset in endpoints.items("subsets") {
        let ports = subset.items("ports");
        for address in subset.items("addresses") {
            let ip = address.text("ip");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            for port in ports {
                let number = port.int("port").unwrap_or(0);
                all.push(if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") });
            }
        }
    }
    if all.is_empty() {
        return cells::NONE.to_owned();
    }
    let shown = all.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(",");
    match all.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} + {more} more..."),
    }
}

struct EndpointsStrategy;

impl Strategy for EndpointsStrategy {
    fn default(&self, endpoints: &mut Value) {
        for subset in endpoints.items_mut("subsets") {
            for port in subset.items_mut("ports") {
                port.put_if_absent("protocol", "TCP");
            }
        }
    }

    fn validate(&self, _context: &Context<'_>, endpoints: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let subsets = Path::root("subsets");
        for (index, subset) in endpoints.items("subsets").iter().enumerate() {
            let path = subsets.index(index);
            if subset.items("addresses").is_empty() && subset.items("notReadyAddresses").is_empty() {
                errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
            }
            for list in ["addresses", "notReadyAddresses"] {
                let list_path = path.child(list);
                for (index, address) in subset.items(list).iter().enumerate() {
                    validate_address(address, &list_path.index(index), &mut errors);
                }
            }
            let ports = subset.items("ports");
            let ports_path = path.child("ports");
            for (index, port) in ports.iter().enumerate() {
                validate_port(port, ports.len() > 1, &ports_path.index(index), &mut errors);
            }
        }
        errors.into_vec()
    }

    fn allow_create_on_update(&self) -> bool {
        true
    }
}

fn validate_address(address: &Value, path: &Path, errors: &mut Errors) {
    reachable_ip(address.text("ip"), &path.child("ip"), errors);
    let hostname = address.text("hostname");
    if !hostname.is_empty() {
        errors.messages(&path.child("hostname"), hostname, names::dns1123_label(hostname));
    }
    if address.present("nodeName") {
        let node = address.text("nodeName");
        errors.messages(&path.child("nodeName"), node, names::subdomain(node, false));
    }
}

fn validate_port(port: &Value, named: bool, path: &Path, errors: &mut Errors) {
    let name = port.text("name");
    if named && name.is_empty() {
        errors.required(&path.child("name"), "");
    } else if !name.is_empty() {
        errors.messages(&path.child("name"), name, names::dns1123_label(name));
    }
    ports::port_number(port.int("port").unwrap_or(0), &path.child("port"), errors);
    errors.one_of(&path.child("protocol"), port.text("protocol"), ports::PROTOCOLS);
    if port.present("appProtocol") {
        let protocol = port.text("appProtocol");
        errors.messages(&path.child("appProtocol"), protocol, names::qualified_name(protocol));
    }
}

/// An address that others can reach: neither unspecified nor loopback nor link-local.
pub fn reachable_ip(address: &str, path: &Path, errors: &mut Errors) {
    let Ok(ip) = address.parse::<IpAddr>() else {
        errors.invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        return;
    };
    let (link_local, link_local_multicast) = match ip {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (v6.is_unicast_link_local(), v6.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        errors.invalid(path, address, format!("may not be unspecified ({address})"));
    }
    if ip.is_loopback() {
        errors.invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        errors.invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if link_local_multicast {
        errors.invalid(path, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn three_addresses_are_shown_and_the_rest_counted() {
        let ips: Vec<Value> = (1..=5).map(|last| json!({"ip": format!("10.0.0.{last}")})).collect();
        let endpoints = json!({"subsets": [{"addresses": ips, "ports": [{"port": 80}]}]});
        assert_eq!(addresses(&endpoints), "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more...");
        assert_eq!(addresses(&json!({})), "<none>");
    }

    #[test]
    fn addresses_must_be_reachable() {
        for (address, good) in [
            ("10.0.0.1", true),
            ("2001:db8::1", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("224.0.0.5", false),
            ("0.0.0.0", false),
            ("fe80::1", false),
            ("x", false),
        ] {
            let mut errors = Errors::new();
            reachable_ip(address, &Path::root("ip"), &mut errors);
            assert_eq!(errors.is_empty(), good, "{address}");
        }
    }
}
