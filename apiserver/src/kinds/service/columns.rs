//! What `kubectl get services` shows.

use serde_json::Value;

use crate::kinds::fields::Fields;
use crate::registry::{Cell, Column};
use crate::tables::cells;

pub fn columns() -> Vec<Column> {
    let column =
        |name, description, read: fn(&Value, i64) -> Value| Column::new(name, "string", description, Cell::Read(read));
    vec![
        cells::name_column(),
        column("Type", "How the service is reached.", |service, _| service.sub("spec").text("type").into()),
        column("Cluster-IP", "The address inside the cluster.", |service, _| {
            cells::or_none(
                service.sub("spec").strings("clusterIPs").next().unwrap_or(service.sub("spec").text("clusterIP")),
            )
        }),
        column("External-IP", "The addresses from outside.", |service, _| external(service).into()),
        column("Port(s)", "The ports that the service offers.", |service, _| ports(service.sub("spec")).into()),
        cells::age_column(),
        column("Selector", "The labels of the pods behind the service.", |service, _| {
            cells::labels(service.sub("spec").sub("selector")).into()
        })
        .wide(),
    ]
}

fn external(service: &Value) -> String {
    let spec = service.sub("spec");
    let mut addresses: Vec<&str> = Vec::new();
    match spec.text("type") {
        "ExternalName" => return spec.text("externalName").to_owned(),
        "LoadBalancer" => {
            for ingress in service.at(&["status", "loadBalancer"]).items("ingress") {
                let ip = ingress.text("ip");
                addresses.push(if ip.is_empty() { ingress.text("hostname") } else { ip });
            }
            addresses.extend(spec.strings("externalIPs"));
            if addresses.is_empty() {
                return "<pending>".to_owned();
            }
        }
        "ClusterIP" | "NodePort" => addresses.extend(spec.strings("externalIPs")),
        _ => return "<unknown>".to_owned(),
    }
    if addresses.is_empty() { cells::NONE.to_owned() } else { addresses.join(",") }
}

fn ports(spec: &Value) -> String {
    let ports: Vec<String> = spec
        .items("ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (port.int("port").unwrap_or(0), port.text("protocol"));
            match port.int("nodePort").filter(|node| *node > 0) {
                Some(node) => format!("{number}:{node}/{protocol}"),
                None => format!("{number}/{protocol}"),
            }
        })
        .collect();
    if ports.is_empty() { cells::NONE.to_owned() } else { ports.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_and_ports_are_shown() {
        let table = [
            (json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80, "protocol": "TCP"}]}}), "<none>", "80/TCP"),
            (
                json!({"spec": {"type": "NodePort", "externalIPs": ["1.2.3.4"],
                    "ports": [{"port": 80, "protocol": "TCP", "nodePort": 30080}, {"port": 53, "protocol": "UDP"}]}}),
                "1.2.3.4",
                "80:30080/TCP,53/UDP",
            ),
            (json!({"spec": {"type": "LoadBalancer"}}), "<pending>", "<none>"),
            (
                json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {"ingress": [{"hostname": "lb"}]}}}),
                "lb",
                "<none>",
            ),
            (json!({"spec": {"type": "ExternalName", "externalName": "example.com"}}), "example.com", "<none>"),
        ];
        for (service, address, port) in table {
            assert_eq!(
                (external(&service).as_str(), ports(service.sub("spec")).as_str()),
                (address, port),
                "{service}"
            );
        }
    }
}
