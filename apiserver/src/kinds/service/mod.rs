//! Service (core/v1). What takes more than rules is the claim on addresses and ports that no two services may share:
//! each is a key of its own in the store, written in the transaction that writes the service.

mod addresses;
mod claims;
mod columns;
mod lifecycle;
mod node_ports;
mod rules;

use keelson_objects::{field::FieldError, status::StatusError};
use serde_json::{Value, json};

use super::fields::{Fields, FieldsMut};
use super::validation::{Errors, names};
use crate::registry::{Context, Kind, Strategy, Subresource};
use crate::storage::Companion;

pub fn kind() -> Kind {
    Kind::new("", "v1", "Service", "services")
        .short_names(&["svc"])
        .categories(&["all"])
        .storage_prefix("/registry/services/specs/")
        .traced()
        .columns(columns::columns())
        .selectable_field("spec.clusterIP", |service| service.sub("spec").text("clusterIP").to_owned())
        .selectable_field("spec.type", |service| service.sub("spec").text("type").to_owned())
        .subresource(Subresource::status())
        .strategy(ServiceStrategy)
}

/// Whether services of this type have an address in the cluster.
fn has_cluster_ip(spec: &Value) -> bool {
    matches!(spec.text("type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn is_headless(spec: &Value) -> bool {
    matches!(spec.items("clusterIPs"), [only] if only == "None")
}

/// Whether services of this type have ports on every node.
fn has_node_ports(spec: &Value) -> bool {
    match spec.text("type") {
        "NodePort" => true,
        "LoadBalancer" => spec.flag("allocateLoadBalancerNodePorts").unwrap_or(true),
        _ => false,
    }
}

struct ServiceStrategy;

impl Strategy for ServiceStrategy {
    fn default(&self, service: &mut Value) {
        const AFFINITY_SECONDS: i64 = 3 * 60 * 60;
        let spec = service.object("spec");
        for (field, default) in [("sessionAffinity", "None"), ("type", "ClusterIP")] {
            if spec.text(field).is_empty() {
                spec.put(field, default);
            }
        }
        if spec.text("sessionAffinity") == "ClientIP" {
            let config = spec.object("sessionAffinityConfig").object("clientIP");
            config.put_if_absent("timeoutSeconds", AFFINITY_SECONDS);
        } else if spec.text("sessionAffinity") == "None" {
            spec.remove_field("sessionAffinityConfig");
        }
        for port in spec.items_mut("ports") {
            if port.text("protocol").is_empty() {
                port.put("protocol", "TCP");
            }
            let unset = match port.sub("targetPort") {
                Value::Null => true,
                Value::String(name) => name.is_empty(),
                number => number.as_i64() == Some(0),
            };
            if unset {
                let number = port.sub("port").clone();
                port.put("targetPort", number);
            }
        }
        let kind = spec.text("type").to_owned();
        let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
        if external && spec.text("externalTrafficPolicy").is_empty() {
            spec.put("externalTrafficPolicy", "Cluster");
        }
        if (external || kind == "ClusterIP") && !spec.present("internalTrafficPolicy") {
            spec.put("internalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            spec.put_if_absent("allocateLoadBalancerNodePorts", true);
            for ingress in service.object("status").object("loadBalancer").items_mut("ingress") {
                if !ingress.text("ip").is_empty() {
                    ingress.put_if_absent("ipMode", "VIP");
                }
            }
        }
    }

    fn prepare_for_create(&self, context: &Context<'_>, service: &mut Value) {
        service.put("status", json!({ "loadBalancer": {} }));
        lifecycle::normalize_cluster_ips(service, None);
        lifecycle::default_families(service, context.cluster.settings().service_cidr);
    }

    fn prepare_for_update(&self, context: &Context<'_>, service: &mut Value, old: &Value) {
        service.put("status", old.sub("status").clone());
        lifecycle::normalize_cluster_ips(service, Some(old));
        lifecycle::keep_allocated(service, old);
        lifecycle::drop_what_the_type_lost(service, old);
        lifecycle::default_families(service, context.cluster.settings().service_cidr);
    }

    fn validate(&self, _context: &Context<'_>, service: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        rules::validate(service, &mut errors);
        errors.into_vec()
    }

    fn validate_update(&self, _context: &Context<'_>, service: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        rules::validate_update(service.sub("spec"), old.sub("spec"), &mut errors);
        errors.into_vec()
    }

    fn validate_status_update(&self, _context: &Context<'_>, service: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        rules::validate_load_balancer(service, &mut errors);
        errors.into_vec()
    }

    /// A label of RFC 1123: a Service's name may start with a digit (KEP-5311).
    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::label(name, prefix)
    }

    fn allocates(&self) -> bool {
        true
    }

    fn companions(
        &self,
        context: &Context<'_>,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Vec<Companion>, StatusError> {
        claims::of_write(context, service, old)
    }

    fn companions_of_delete(&self, service: &Value) -> Vec<Companion> {
        claims::of_delete(service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_completed() {
        let mut service = json!({"spec": {"ports": [{"port": 80}, {"port": 443, "targetPort": "https"}]}});
        ServiceStrategy.default(&mut service);
        let once = service.clone();
        ServiceStrategy.default(&mut service);
        assert_eq!(service, once);
        let spec = service.sub("spec");
        assert_eq!(spec.text("type"), "ClusterIP");
        assert_eq!(spec.text("sessionAffinity"), "None");
        assert_eq!(spec.text("internalTrafficPolicy"), "Cluster");
        assert_eq!(spec.items("ports")[0], json!({"port": 80, "protocol": "TCP", "targetPort": 80}));
        assert_eq!(spec.items("ports")[1].text("targetPort"), "https");

        let mut balanced = json!({"spec": {"type": "LoadBalancer", "sessionAffinity": "ClientIP"}});
        ServiceStrategy.default(&mut balanced);
        let spec = balanced.sub("spec");
        assert_eq!(spec.text("externalTrafficPolicy"), "Cluster");
        assert_eq!(spec.flag("allocateLoadBalancerNodePorts"), Some(true));
        assert_eq!(spec.at(&["sessionAffinityConfig", "clientIP", "timeoutSeconds"]), &json!(10800));
    }
}
