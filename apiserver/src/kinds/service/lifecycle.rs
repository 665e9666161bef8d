//! How a service's allocated fields carry over from one write to the next.
//!
//! `clusterIP` and the first of `clusterIPs` are one fact in two fields, and clients write either. What the server has
//! allocated stays when a writer leaves it out, and goes when the service's type has no use for it any more.

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{has_cluster_ip, has_node_ports};
use crate::kinds::fields::{Fields, FieldsMut};

pub fn normalize_cluster_ips(service: &mut Value, old: Option<&Value>) {
    let before = old.map(|old| old.sub("spec").clone()).unwrap_or(Value::Null);
    let spec = service.object("spec");
    let single = spec.text("clusterIP").to_owned();
    if before.is_null() {
        if !single.is_empty() && spec.items("clusterIPs").is_empty() {
            spec.put("clusterIPs", json!([single]));
        }
        return;
    }
    let same_list = spec.items("clusterIPs") == before.items("clusterIPs");
    if single.is_empty() && !before.text("clusterIP").is_empty() {
        // cleared by a client that knows the older field only
        if same_list {
            spec.remove_field("clusterIPs");
        }
    } else if single != before.text("clusterIP") {
        // changed by such a client
        if same_list || spec.items("clusterIPs").is_empty() {
            spec.put("clusterIPs", json!([single]));
        }
    }
}

/// Fills in what the server allocated and the writer left out.
pub fn keep_allocated(service: &mut Value, old: &Value) {
    let before = old.sub("spec");
    let spec = service.object("spec");
    if has_cluster_ip(before) && has_cluster_ip(spec) {
        if spec.text("clusterIP").is_empty() {
            spec.put("clusterIP", before.sub("clusterIP").clone());
        }
        if spec.items("clusterIPs").is_empty() && spec.text("clusterIP") == before.text("clusterIP") {
            spec.put("clusterIPs", before.sub("clusterIPs").clone());
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            spec.put_if_absent(field, before.sub(field).clone());
        }
    }
    if has_node_ports(before) && has_node_ports(spec) {
        let key = |port: &Value| (port.text("protocol").to_owned(), port.int("port"));
        let asked: Vec<i64> = spec.items("ports").iter().filter_map(|port| port.int("nodePort")).collect();
        for port in spec.items_mut("ports") {
            let known = before.items("ports").iter().find(|known| key(known) == key(port));
            let kept = known.and_then(|known| known.int("nodePort")).filter(|node| *node > 0 && !asked.contains(node));
            if port.int("nodePort").unwrap_or(0) == 0
                && let Some(kept) = kept
            {
                port.put("nodePort", kept);
            }
        }
    }
    if needs_health_check(before) && needs_health_check(spec) && spec.int("healthCheckNodePort").unwrap_or(0) == 0 {
        spec.put("healthCheckNodePort", before.sub("healthCheckNodePort").clone());
    }
}

/// After a change of type, what only the old type had is dropped, unless the writer set it anew.
pub fn drop_what_the_type_lost(service: &mut Value, old: &Value) {
    let before = old.sub("spec");
    let spec = service.object("spec");
    if has_cluster_ip(before) && !has_cluster_ip(spec) {
        if spec.text("clusterIP") == before.text("clusterIP") {
            spec.remove_field("clusterIP");
            spec.remove_field("clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy"] {
            if spec.sub(field) == before.sub(field) {
                spec.remove_field(field);
            }
        }
    }
    if has_node_ports(before) && !has_node_ports(spec) {
        let allocated: Vec<i64> = before.items("ports").iter().filter_map(|port| port.int("nodePort")).collect();
        for port in spec.items_mut("ports") {
            if port.int("nodePort").is_some_and(|node| allocated.contains(&node)) {
                port.remove_field("nodePort");
            }
        }
    }
    if needs_health_check(before) && !needs_health_check(spec) {
        spec.remove_field("healthCheckNodePort");
    }
    let external = |spec: &Value| matches!(spec.text("type"), "NodePort" | "LoadBalancer");
    if external(before) && !external(spec) {
        spec.remove_field("externalTrafficPolicy");
    }
    if before.text("type") == "LoadBalancer" && spec.text("type") != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if spec.sub(field) == before.sub(field) {
                spec.remove_field(field);
            }
        }
        service.put("status", json!({ "loadBalancer": {} }));
    }
}

pub fn needs_health_check(spec: &Value) -> bool {
    spec.text("type") == "LoadBalancer" && spec.text("externalTrafficPolicy") == "Local"
}

/// This cluster has one service range, so a service has its family.
pub fn default_families(service: &mut Value, range: IpNet) {
    let spec = service.object("spec");
    if !has_cluster_ip(spec) {
        return;
    }
    let family = match range {
        IpNet::V4(_) => "IPv4",
        IpNet::V6(_) => "IPv6",
    };
    if spec.items("ipFamilies").is_empty() {
        spec.put("ipFamilies", json!([family]));
    }
    spec.put_if_absent("ipFamilyPolicy", "SingleStack");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(spec: Value) -> Value {
        json!({ "spec": spec })
    }

    #[test]
    fn an_older_client_may_write_one_address() {
        let mut new = service(json!({"clusterIP": "10.0.0.1"}));
        normalize_cluster_ips(&mut new, None);
        assert_eq!(new.sub("spec").sub("clusterIPs"), &json!(["10.0.0.1"]));

        let old = service(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}));
        let mut cleared = service(json!({"type": "ClusterIP", "clusterIP": "", "clusterIPs": ["10.0.0.1"]}));
        normalize_cluster_ips(&mut cleared, Some(&old));
        assert!(cleared.sub("spec").items("clusterIPs").is_empty());
        keep_allocated(&mut cleared, &old);
        assert_eq!(cleared.sub("spec").text("clusterIP"), "10.0.0.1");
        assert_eq!(cleared.sub("spec").sub("clusterIPs"), &json!(["10.0.0.1"]));
    }

    #[test]
    fn node_ports_stay_with_their_ports() {
        let old = service(json!({"type": "NodePort", "ports": [
            {"protocol": "TCP", "port": 80, "nodePort": 30080}, {"protocol": "TCP", "port": 81, "nodePort": 30081}]}));
        let mut new = service(json!({"type": "NodePort", "ports": [
            {"protocol": "TCP", "port": 81}, {"protocol": "TCP", "port": 82}, {"protocol": "TCP", "port": 83, "nodePort": 30080}]}));
        keep_allocated(&mut new, &old);
        let nodes: Vec<Option<i64>> = new.sub("spec").items("ports").iter().map(|port| port.int("nodePort")).collect();
        assert_eq!(nodes, [Some(30081), None, Some(30080)]);
    }

    #[test]
    fn a_change_of_type_drops_what_was_allocated() {
        let old = service(json!({"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "externalTrafficPolicy": "Cluster", "ports": [{"port": 80, "nodePort": 30080}]}));
        let mut new = old.clone();
        new["spec"]["type"] = "ClusterIP".into();
        drop_what_the_type_lost(&mut new, &old);
        assert!(!new.sub("spec").items("ports")[0].present("nodePort"));
        assert!(!new.sub("spec").present("externalTrafficPolicy"));
        assert_eq!(new.sub("spec").text("clusterIP"), "10.0.0.1");

        new["spec"]["type"] = "ExternalName".into();
        drop_what_the_type_lost(&mut new, &old);
        assert!(!new.sub("spec").present("clusterIP") && !new.sub("spec").present("clusterIPs"));
    }
}
