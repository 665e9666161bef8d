//! The variables that tell a container of the Services around it, in Kubernetes' form and in Docker's old link form.

use k8s_openapi::api::core::v1::Service;

/// Variables for the services that a pod of `namespace` sees: those of its own namespace, if it wants links, and always
/// the API server's.
pub fn variables<'a>(
    services: impl Iterator<Item = &'a Service>,
    namespace: &str,
    enable_links: bool,
) -> Vec<(String, String)> {
    let mut own = Vec::new();
    let mut master = None;
    for service in services {
        let name = service.metadata.name.as_deref().unwrap_or_default();
        let home = service.metadata.namespace.as_deref().unwrap_or_default();
        if cluster_ip(service).is_none() {
            continue;
        }
        if home == namespace && enable_links {
            own.push(service);
        } else if home == "default" && name == "kubernetes" {
            master = Some(service);
        }
    }
    own.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut variables = Vec::new();
    for service in own.into_iter().chain(master) {
        describe(service, &mut variables);
    }
    variables
}

fn cluster_ip(service: &Service) -> Option<&str> {
    let ip = service.spec.as_ref()?.cluster_ip.as_deref()?;
    (!ip.is_empty() && ip != "None").then_some(ip)
}

fn describe(service: &Service, variables: &mut Vec<(String, String)>) {
    let Some(ip) = cluster_ip(service) else { return };
    let Some(ports) = service.spec.as_ref().and_then(|spec| spec.ports.as_ref()) else { return };
    let Some(first) = ports.first() else { return };
    let prefix = variable_name(service.metadata.name.as_deref().unwrap_or_default());
    let address = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };

    variables.push((format!("{prefix}_SERVICE_HOST"), ip.to_owned()));
    variables.push((format!("{prefix}_SERVICE_PORT"), first.port.to_string()));
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables.push((format!("{prefix}_SERVICE_PORT_{}", variable_name(name)), port.port.to_string()));
        }
    }
    for (index, port) in ports.iter().enumerate() {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let scheme = protocol.to_ascii_lowercase();
        let url = format!("{scheme}://{address}:{}", port.port);
        if index == 0 {
            variables.push((format!("{prefix}_PORT"), url.clone()));
        }
        let port_prefix = format!("{prefix}_PORT_{}_{}", port.port, protocol.to_ascii_uppercase());
        variables.push((port_prefix.clone(), url));
        variables.push((format!("{port_prefix}_PROTO"), scheme));
        variables.push((format!("{port_prefix}_PORT"), port.port.to_string()));
        variables.push((format!("{port_prefix}_ADDR"), ip.to_owned()));
    }
}

fn variable_name(name: &str) -> String {
    name.to_ascii_uppercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(namespace: &str, name: &str, ip: &str) -> Service {
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name},
            "spec": {"clusterIP": ip, "ports": [{"name": "http-web", "port": 80, "protocol": "TCP"}]}
        }))
        .expect("a service")
    }

    #[test]
    fn services_of_the_namespace_and_the_api_server_are_described() {
        let services = [
            service("shop", "my-cart", "10.96.0.9"),
            service("shop", "headless", "None"),
            service("other", "elsewhere", "10.96.0.8"),
            service("default", "kubernetes", "10.96.0.1"),
        ];
        let names = |namespace, links| -> Vec<String> {
            variables(services.iter(), namespace, links)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        let all = names("shop", true);
        for want in [
            "MY_CART_SERVICE_HOST=10.96.0.9",
            "MY_CART_SERVICE_PORT=80",
            "MY_CART_SERVICE_PORT_HTTP_WEB=80",
            "MY_CART_PORT=tcp://10.96.0.9:80",
            "MY_CART_PORT_80_TCP=tcp://10.96.0.9:80",
            "MY_CART_PORT_80_TCP_PROTO=tcp",
            "MY_CART_PORT_80_TCP_PORT=80",
            "MY_CART_PORT_80_TCP_ADDR=10.96.0.9",
            "KUBERNETES_SERVICE_HOST=10.96.0.1",
        ] {
            assert!(all.iter().any(|line| line == want), "{want} in {all:?}");
        }
        assert!(!all.iter().any(|line| line.starts_with("HEADLESS") || line.starts_with("ELSEWHERE")));
        assert!(names("shop", false).iter().all(|line| line.starts_with("KUBERNETES_")));
        assert_eq!(names("default", true).len(), names("shop", false).len());
    }
}
