//! The rules of a Service.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::is_headless;
use super::lifecycle::needs_health_check;
use crate::kinds::endpoints::reachable_ip;
use crate::kinds::fields::Fields;
use crate::kinds::pod::spec::ip;
use crate::kinds::validation::{Errors, Path, meta, names, ports};

const TYPES: &[&str] = &["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const TRAFFIC: &[&str] = &["Cluster", "Local"];
const LONGEST_AFFINITY: i64 = 86_400;

pub fn validate(service: &Value, errors: &mut Errors) {
    let (spec, path) = (service.sub("spec"), Path::root("spec"));
    let kind = spec.text("type");
    if spec.items("ports").is_empty() && !is_headless(spec) && kind != "ExternalName" {
        errors.required(&path.child("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(spec) => {
            let ips = path.child("clusterIPs");
            errors.invalid(&ips.index(0), "None", format!("may not be set to 'None' for {kind} services"));
        }
        "ExternalName" => validate_external_name(spec, &path, errors),
        _ => {}
    }
    validate_ports(spec, &path, errors);
    meta::labels(spec.sub("selector"), &path.child("selector"), errors);
    validate_affinity(spec, &path, errors);
    if kind != "ExternalName" {
        validate_cluster_ips(spec, &path, errors);
    }
    let externals = path.child("externalIPs");
    for (index, address) in spec.strings("externalIPs").enumerate() {
        reachable_ip(address, &externals.index(index), errors);
    }
    errors.one_of(&path.child("type"), kind, TYPES);
    validate_source_ranges(spec, &path, errors);
    if spec.present("allocateLoadBalancerNodePorts") && kind != "LoadBalancer" {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), detail);
    }
    if spec.present("loadBalancerClass") {
        let class = spec.text("loadBalancerClass");
        if kind != "LoadBalancer" {
            let detail = "may only be used when `type` is 'LoadBalancer'";
            errors.forbidden(&path.child("loadBalancerClass"), detail);
        }
        errors.messages(&path.child("loadBalancerClass"), class, names::qualified_name(class));
    }
    validate_traffic(spec, kind, &path, errors);
}

fn validate_external_name(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["clusterIPs", "ipFamilies"] {
        if !spec.items(field).is_empty() {
            errors.forbidden(&path.child(field), "may not be set for ExternalName services");
        }
    }
    if spec.present("ipFamilyPolicy") {
        errors.forbidden(&path.child("ipFamilyPolicy"), "may not be set for ExternalName services");
    }
    let name = spec.text("externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.required(&path.child("externalName"), "");
    } else {
        errors.messages(&path.child("externalName"), name, names::dns1123_subdomain(name));
    }
}

fn validate_ports(spec: &Value, path: &Path, errors: &mut Errors) {
    let all = spec.items("ports");
    let list = path.child("ports");
    let (mut known_names, mut pairs, mut node_pairs) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (index, port) in all.iter().enumerate() {
        let path = list.index(index);
        let (name, number) = (port.text("name"), port.int("port").unwrap_or(0));
        let protocol = port.text("protocol");
        if name.is_empty() {
            if all.len() > 1 {
                errors.required(&path.child("name"), "");
            }
        } else {
            errors.messages(&path.child("name"), name, names::dns1123_label(name));
            if !known_names.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        ports::port_number(number, &path.child("port"), errors);
        errors.one_of(&path.child("protocol"), protocol, ports::PROTOCOLS);
        ports::number_or_name(port.sub("targetPort"), &path.child("targetPort"), errors);
        if port.present("appProtocol") {
            let application = port.text("appProtocol");
            errors.messages(&path.child("appProtocol"), application, names::qualified_name(application));
        }
        let node_port = port.int("nodePort").unwrap_or(0);
        if node_port != 0 {
            if spec.text("type") == "ClusterIP" {
                errors.forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
            }
            if !node_pairs.insert((protocol, node_port)) {
                errors.duplicate(&path.child("nodePort"), node_port);
            }
        }
        if !pairs.insert((protocol, number)) {
            errors.duplicate(&path, serde_json::json!({ "protocol": protocol, "port": number }));
        }
    }
}

fn validate_affinity(spec: &Value, path: &Path, errors: &mut Errors) {
    let affinity = spec.text("sessionAffinity");
    errors.one_of(&path.child("sessionAffinity"), affinity, &["ClientIP", "None"]);
    let config = spec.sub("sessionAffinityConfig");
    let config_path = path.child("sessionAffinityConfig");
    if affinity == "None" && !config.is_null() {
        errors.forbidden(&config_path, "must not be set when session affinity is None");
    }
    if affinity != "ClientIP" {
        return;
    }
    let missing = "when session affinity type is ClientIP";
    let client_path = config_path.child("clientIP");
    let seconds_path = client_path.child("timeoutSeconds");
    if config.is_null() {
        errors.required(&config_path, missing);
    } else if !config.present("clientIP") {
        errors.required(&client_path, missing);
    } else {
        match config.sub("clientIP").int("timeoutSeconds") {
            None => errors.required(&seconds_path, missing),
            Some(seconds) if !(1..=LONGEST_AFFINITY).contains(&seconds) => errors.invalid(
                &seconds_path,
                seconds,
                format!("must be greater than 0 and less than {LONGEST_AFFINITY}"),
            ),
            Some(_) => {}
        }
    }
}

fn validate_cluster_ips(spec: &Value, path: &Path, errors: &mut Errors) {
    let ips: Vec<&str> = spec.strings("clusterIPs").collect();
    let families: Vec<&str> = spec.strings("ipFamilies").collect();
    let ips_path = path.child("clusterIPs");
    let shown = || spec.sub("clusterIPs").clone();
    match (spec.text("clusterIP"), ips.first()) {
        ("", Some(_)) => errors.invalid(&ips_path, shown(), "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => errors.required(&ips_path, ""),
        (single, Some(first)) if single != *first => {
            errors.invalid(&ips_path, shown(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    let families_path = path.child("ipFamilies");
    let mut seen = HashSet::new();
    for (index, family) in families.iter().enumerate() {
        if !FAMILIES.contains(family) {
            errors.not_supported(&families_path.index(index), *family, FAMILIES);
        }
        if !seen.insert(family) {
            errors.duplicate(&families_path.index(index), *family);
        }
    }
    if spec.present("ipFamilyPolicy") && !POLICIES.contains(&spec.text("ipFamilyPolicy")) {
        errors.not_supported(&path.child("ipFamilyPolicy"), spec.text("ipFamilyPolicy"), POLICIES);
    }

    let before = errors.len();
    for (index, address) in ips.iter().enumerate() {
        if index == 0 && *address == "None" {
            if ips.len() > 1 {
                errors.invalid(&ips_path, shown(), "'None' must be the first and only value");
            }
            continue;
        }
        ip(address, &ips_path.index(index), errors);
    }
    if ips.len() > 2 {
        errors.invalid(&ips_path, shown(), "may only hold up to 2 values");
    }
    if errors.len() > before || is_headless(spec) {
        return;
    }
    let family_of = |address: &str| match address.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) => "IPv6",
        _ => "IPv4",
    };
    if ips.len() > 1 && family_of(ips[0]) == family_of(ips[1]) {
        errors.invalid(&ips_path, shown(), "may specify no more than one IP for each IP family");
    }
    for (index, (address, family)) in ips.iter().zip(&families).enumerate() {
        if family_of(address) != *family {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            errors.invalid(&ips_path.index(index), *address, detail);
        }
    }
}

fn validate_source_ranges(spec: &Value, path: &Path, errors: &mut Errors) {
    let path = path.child("LoadBalancerSourceRanges");
    if !spec.items("loadBalancerSourceRanges").is_empty() && spec.text("type") != "LoadBalancer" {
        errors.forbidden(&path, "may only be used when `type` is 'LoadBalancer'");
    }
    for (index, range) in spec.strings("loadBalancerSourceRanges").enumerate() {
        let range = range.trim();
        if range.parse::<IpNet>().is_err() {
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            errors.invalid(&path.index(index), range, detail);
        }
    }
}

fn validate_traffic(spec: &Value, kind: &str, path: &Path, errors: &mut Errors) {
    let external = spec.text("externalTrafficPolicy");
    let has_external_ips = kind == "ClusterIP" && !spec.items("externalIPs").is_empty();
    if !matches!(kind, "NodePort" | "LoadBalancer") && !has_external_ips {
        if !external.is_empty() {
            let detail = "may only be set for externally-accessible services";
            errors.invalid(&path.child("externalTrafficPolicy"), external, detail);
        }
    } else if external.is_empty() {
        if !has_external_ips {
            errors.required(&path.child("externalTrafficPolicy"), "");
        }
    } else if !TRAFFIC.contains(&external) {
        errors.not_supported(&path.child("externalTrafficPolicy"), external, TRAFFIC);
    }
    let health = spec.int("healthCheckNodePort").unwrap_or(0);
    if health != 0 && !needs_health_check(spec) {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid(&path.child("healthCheckNodePort"), health, detail);
    } else if health != 0 {
        ports::port_number(health, &path.child("healthCheckNodePort"), errors);
    }
    if spec.present("internalTrafficPolicy") {
        let internal = spec.text("internalTrafficPolicy");
        if !TRAFFIC.contains(&internal) {
            errors.not_supported(&path.child("internalTrafficPolicy"), internal, TRAFFIC);
        }
    }
    const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
    if spec.present("trafficDistribution") && !DISTRIBUTIONS.contains(&spec.text("trafficDistribution")) {
        errors.not_supported(&path.child("trafficDistribution"), spec.text("trafficDistribution"), DISTRIBUTIONS);
    }
}

/// An address and a family stay once they are given, except from, to and among ExternalName.
pub fn validate_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::root("spec");
    if new.text("type") == "ExternalName" || old.text("type") == "ExternalName" {
        return;
    }
    if needs_health_check(new)
        && needs_health_check(old)
        && new.sub("healthCheckNodePort") != old.sub("healthCheckNodePort")
    {
        errors.forbidden(&path.child("healthCheckNodePort"), "field is immutable");
    }
    if old.text("type") == "LoadBalancer"
        && new.text("type") == "LoadBalancer"
        && new.sub("loadBalancerClass") != old.sub("loadBalancerClass")
    {
        errors.invalid(
            &path.child("loadBalancerClass"),
            new.sub("loadBalancerClass").clone(),
            "may not change once set",
        );
    }
    if is_headless(new) && is_headless(old) {
        return;
    }
    let (now, before) = (new.items("clusterIPs"), old.items("clusterIPs"));
    let ips = path.child("clusterIPs");
    let shown = new.sub("clusterIPs").clone();
    match (now.first(), before.first()) {
        (None, Some(_)) => errors.invalid(&ips.index(0), shown, "primary clusterIP can not be unset"),
        (Some(now), Some(before)) if now != before => errors.invalid(&ips.index(0), shown, "may not change once set"),
        _ => {}
    }
    if before.len() > now.len() && now.len() == 1 && new.text("ipFamilyPolicy") != "SingleStack" {
        errors.invalid(
            &path.child("ipFamilyPolicy"),
            new.sub("ipFamilyPolicy").clone(),
            "must be set to 'SingleStack' when releasing the secondary clusterIP",
        );
    }
    if is_headless(new) != is_headless(old) {
        return;
    }
    let (now, before) = (new.items("ipFamilies"), old.items("ipFamilies"));
    if let (Some(first), Some(known)) = (now.first(), before.first())
        && first != known
    {
        let families = path.child("ipFamilies");
        errors.invalid(&families.index(0), new.sub("ipFamilies").clone(), "may not change once set");
    }
}

pub fn validate_load_balancer(service: &Value, errors: &mut Errors) {
    let status = Path::root("status");
    let balancer = status.child("loadBalancer");
    let path = balancer.child("ingress");
    let ingresses = service.at(&["status", "loadBalancer"]).items("ingress");
    if !ingresses.is_empty() && service.sub("spec").text("type") != "LoadBalancer" {
        errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for (index, ingress) in ingresses.iter().enumerate() {
        let path = path.index(index);
        let (address, mode, hostname) = (ingress.text("ip"), ingress.text("ipMode"), ingress.text("hostname"));
        if !address.is_empty() {
            ip(address, &path.child("ip"), errors);
        }
        match (ingress.present("ipMode"), address.is_empty()) {
            (false, false) => errors.required(&path.child("ipMode"), "must be specified when `ip` is set"),
            (true, true) => errors.forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set"),
            (true, false) if !["Proxy", "VIP"].contains(&mode) => {
                errors.not_supported(&path.child("ipMode"), mode, &["Proxy", "VIP"]);
            }
            _ => {}
        }
        if !hostname.is_empty() {
            errors.messages(&path.child("hostname"), hostname, names::dns1123_subdomain(hostname));
            if hostname.parse::<IpAddr>().is_ok() {
                errors.invalid(&path.child("hostname"), hostname, "must be a DNS name, not an IP address");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster",
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}]})
    }

    fn errors_of(change: fn(&mut Value)) -> Vec<String> {
        let mut spec = good();
        change(&mut spec);
        let mut errors = Errors::new();
        validate(&json!({ "spec": spec }), &mut errors);
        errors.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn services_are_judged() {
        type Change = fn(&mut Value);
        let table: Vec<(Change, &[&str])> = vec![
            (|_| {}, &[]),
            (|spec| spec["ports"] = json!([]), &["spec.ports: Required value"]),
            (
                |spec| spec["ports"][0]["port"] = json!(70000),
                &["spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive"],
            ),
            (
                |spec| spec["type"] = json!("Nope"),
                &[
                    "spec.type: Unsupported value: \"Nope\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
                ],
            ),
            (
                |spec| spec["ports"][0]["nodePort"] = json!(30000),
                &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
            ),
            (
                |spec| {
                    spec["ports"] = json!([{"name": "a", "port": 80, "protocol": "TCP", "targetPort": 1},
                        {"name": "a", "port": 80, "protocol": "TCP", "targetPort": 1}]);
                },
                &[
                    "spec.ports[1].name: Duplicate value: \"a\"",
                    "spec.ports[1]: Duplicate value: {\"protocol\":\"TCP\",\"port\":80}",
                ],
            ),
            (
                |spec| {
                    spec["clusterIP"] = json!("x");
                    spec["clusterIPs"] = json!(["x"]);
                },
                &[
                    "spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
                ],
            ),
            (
                |spec| spec["externalTrafficPolicy"] = json!("Local"),
                &[
                    "spec.externalTrafficPolicy: Invalid value: \"Local\": may only be set for externally-accessible services",
                ],
            ),
        ];
        for (change, expected) in table {
            assert_eq!(errors_of(change), expected);
        }
    }

    #[test]
    fn an_address_stays() {
        let check = |new: Value, old: Value| {
            let mut errors = Errors::new();
            validate_update(&new, &old, &mut errors);
            errors.into_vec().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let with = |ip: &str| json!({"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip]});
        assert!(check(with("10.0.0.1"), with("10.0.0.1")).is_empty());
        assert_eq!(
            check(with("10.0.0.2"), with("10.0.0.1")),
            ["spec.clusterIPs[0]: Invalid value: [\"10.0.0.2\"]: may not change once set"]
        );
        assert!(check(json!({"type": "ExternalName"}), with("10.0.0.1")).is_empty());
    }
}
