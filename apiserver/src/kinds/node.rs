//! Node (core/v1).

use std::collections::HashSet;

use ipnet::IpNet;
use keelson_objects::field::FieldError;
use serde_json::{Value, json};

use super::fields::{Fields, FieldsMut};
use super::pod::placement;
use super::validation::{Errors, Path, quantity_of, resource_quantity};
use crate::registry::{Cell, Column, Context, Kind, Strategy, Subresource};
use crate::tables::cells;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE: &str = "kubernetes.io/role";

pub fn kind() -> Kind {
    Kind::new("", "v1", "Node", "nodes")
        .cluster_scoped()
        .short_names(&["no"])
        .storage_prefix("/registry/minions/")
        .columns(columns())
        .selectable_field("spec.unschedulable", |node| {
            node.sub("spec").flag("unschedulable").unwrap_or(false).to_string()
        })
        .subresource(Subresource::status())
        .strategy(NodeStrategy)
}

fn columns() -> Vec<Column> {
    vec![
        cells::name_column(),
        Column::new("Status", "string", "The status of the node", Cell::Read(|node, _| status(node).into())),
        Column::new("Roles", "string", "The roles of the node", Cell::Read(|node, _| roles(node).into())),
        cells::age_column(),
        column("Version", "The version of the node's agent.", |node, _| {
            node.at(&["status", "nodeInfo"]).text("kubeletVersion").into()
        }),
        column("Internal-IP", "The node's address inside the cluster.", |node, _| address(node, "InternalIP")).wide(),
        column("External-IP", "The node's address to the outside.", |node, _| address(node, "ExternalIP")).wide(),
        column("OS-Image", "The node's operating system.", |node, _| info(node, "osImage")).wide(),
        column("Kernel-Version", "The node's kernel.", |node, _| info(node, "kernelVersion")).wide(),
        column("Container-Runtime", "The node's container runtime.", |node, _| info(node, "containerRuntimeVersion"))
            .wide(),
    ]
}

fn column(name: &'static str, description: &'static str, read: fn(&Value, i64) -> Value) -> Column {
    Column::new(name, "string", description, Cell::Read(read))
}

fn status(node: &Value) -> String {
    let conditions = node.sub("status").items("conditions");
    let ready = conditions.iter().find(|condition| condition.text("type") == "Ready");
    let mut status = match ready.map(|condition| condition.text("status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if node.sub("spec").flag("unschedulable") == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = node
        .sub("metadata")
        .entries("labels")
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) if !role.is_empty() => Some(role),
            _ => (key == ROLE && !value.is_empty()).then_some(value),
        })
        .collect();
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { cells::NONE.to_owned() } else { roles.join(",") }
}

fn address(node: &Value, kind: &str) -> Value {
    let addresses = node.sub("status").items("addresses");
    let found = addresses.iter().find(|address| address.text("type") == kind);
    cells::or_none(found.map_or("", |address| address.text("address")))
}

fn info(node: &Value, field: &str) -> Value {
    match node.at(&["status", "nodeInfo"]).text(field) {
        "" => "<unknown>".into(),
        text => text.into(),
    }
}

struct NodeStrategy;

impl Strategy for NodeStrategy {
    /// The pod range and the first of the list are one fact in two fields.
    fn default(&self, node: &mut Value) {
        let spec = node.object("spec");
        let (single, first) = (spec.text("podCIDR").to_owned(), spec.strings("podCIDRs").next().map(str::to_owned));
        match first {
            None if !single.is_empty() => spec.put("podCIDRs", json!([single])),
            Some(first) if single.is_empty() => spec.put("podCIDR", first),
            _ => {}
        }
        let status = node.object("status");
        if status.present("capacity") && !status.present("allocatable") {
            let capacity = status.sub("capacity").clone();
            status.put("allocatable", capacity);
        }
    }

    fn keeps_status_on_create(&self) -> bool {
        true
    }

    fn validate(&self, _context: &Context<'_>, node: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let metadata = Path::root("metadata");
        placement::validate_taints(node.sub("spec").items("taints"), &metadata.child("taints"), &mut errors);
        validate_amounts(node, &mut errors);
        validate_pod_ranges(node.sub("spec"), &mut errors);
        errors.into_vec()
    }

    fn validate_update(&self, _context: &Context<'_>, node: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let path = Path::root("spec");
        let (spec, before) = (node.sub("spec"), old.sub("spec"));
        let ranges = before.items("podCIDRs");
        if !ranges.is_empty() && ranges != spec.items("podCIDRs") {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.forbidden(&path.child("podCIDRs"), detail);
        }
        let provider = before.text("providerID");
        if !provider.is_empty() && provider != spec.text("providerID") {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.forbidden(&path.child("providerID"), detail);
        }
        if spec.text("externalID") != before.text("externalID") {
            errors.forbidden(&path.child("externalID"), "may not be updated");
        }
        errors.into_vec()
    }

    fn validate_status_update(&self, _context: &Context<'_>, node: &Value, _old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_amounts(node, &mut errors);
        let status = Path::root("status");
        let path = status.child("addresses");
        let mut seen = HashSet::new();
        for (index, address) in node.sub("status").items("addresses").iter().enumerate() {
            if !seen.insert((address.text("type"), address.text("address"))) {
                errors.duplicate(&path.index(index), address.clone());
            }
        }
        errors.into_vec()
    }
}

fn validate_amounts(node: &Value, errors: &mut Errors) {
    let path = Path::root("status");
    for list in ["capacity", "allocatable"] {
        let path = path.child(list);
        for (name, amount) in node.sub("status").map(list).into_iter().flatten() {
            if let Some(amount) = quantity_of(amount) {
                resource_quantity(name, &amount, &path.child(name), errors);
            }
        }
    }
}

fn validate_pod_ranges(spec: &Value, errors: &mut Errors) {
    let root = Path::root("spec");
    let path = root.child("podCIDRs");
    let mut families = [0, 0];
    for (index, range) in spec.strings("podCIDRs").enumerate() {
        match range.parse::<IpNet>() {
            Ok(IpNet::V4(_)) => families[0] += 1,
            Ok(IpNet::V6(_)) => families[1] += 1,
            Err(_) => errors.invalid(
                &path.index(index),
                range,
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ),
        }
    }
    if families.iter().any(|count| *count > 1) {
        errors.invalid(&path, spec.sub("podCIDRs").clone(), "may specify no more than one CIDR for each IP family");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_shows_its_state_and_roles() {
        let node = json!({
            "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]},
        });
        assert_eq!(status(&node), "Ready,SchedulingDisabled");
        assert_eq!(roles(&node), "edge,worker");
        assert_eq!(address(&node, "InternalIP"), "10.0.0.1");
        assert_eq!(address(&node, "ExternalIP"), "<none>");
        assert_eq!(status(&json!({})), "Unknown");
        assert_eq!(info(&json!({}), "osImage"), "<unknown>");
    }

    #[test]
    fn a_pod_range_is_kept_in_both_fields() {
        let mut node = json!({"spec": {"podCIDR": "10.244.0.0/24"}});
        NodeStrategy.default(&mut node);
        assert_eq!(node.at(&["spec", "podCIDRs"]), &json!(["10.244.0.0/24"]));
        let mut errors = Errors::new();
        validate_pod_ranges(&json!({"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24", "x"]}), &mut errors);
        assert_eq!(errors.len(), 2);
    }
}
