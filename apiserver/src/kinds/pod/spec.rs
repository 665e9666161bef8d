//! The rules of a pod's spec, in a pod or in a template.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use super::containers::{self, PodFacts};
use super::{placement, resources, security, volumes};
use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path, meta, names};

/// Whose spec it is: some rules hold for pods and not for the templates that pods are made from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Pod,
    Template,
}

pub fn validate(spec: &Value, place: Place, path: &Path, errors: &mut Errors) {
    let grace_period = spec.int("terminationGracePeriodSeconds");
    if grace_period.is_none() {
        errors.required(&path.child("terminationGracePeriodSeconds"), "");
    }
    let volumes = volumes::validate(spec.items("volumes"), &path.child("volumes"), errors);
    let claim_names = validate_resource_claims(spec.items("resourceClaims"), &path.child("resourceClaims"), errors);
    let facts = PodFacts {
        volumes: &volumes,
        claim_names,
        grace_period,
        restart_policy: spec.text("restartPolicy"),
        host_users: spec.flag("hostUsers").unwrap_or(true),
    };
    let regular = spec.items("containers");
    containers::validate_regular(regular, &facts, &path.child("containers"), errors);
    let init = spec.items("initContainers");
    containers::validate_init(init, regular, &facts, &path.child("initContainers"), errors);
    containers::validate_ephemeral(spec, &facts, &path.child("ephemeralContainers"), errors);
    if spec.present("resources") {
        resources::validate_pod_level(spec.sub("resources"), &path.child("resources"), errors);
    }

    validate_host_network(spec, place, path, errors);
    errors.one_of(&path.child("restartPolicy"), spec.text("restartPolicy"), &["Always", "OnFailure", "Never"]);
    errors.one_of(
        &path.child("dnsPolicy"),
        spec.text("dnsPolicy"),
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    meta::labels(spec.sub("nodeSelector"), &path.child("nodeSelector"), errors);
    security::validate_pod(spec.sub("securityContext"), spec, &path.child("securityContext"), errors);
    if spec.sub("securityContext").present("shareProcessNamespace") || spec.flag("shareProcessNamespace") == Some(true)
    {
        validate_shared_processes(spec, path, errors);
    }
    placement::validate_affinity(spec.sub("affinity"), &path.child("affinity"), errors);
    validate_dns_config(spec, &path.child("dnsConfig"), errors);
    let gates = path.child("readinessGates");
    for (index, gate) in spec.items("readinessGates").iter().enumerate() {
        let condition = gate.text("conditionType");
        errors.messages(&gates.index(index).child("conditionType"), condition, names::qualified_name(condition));
    }
    validate_scheduling_gates(spec.items("schedulingGates"), &path.child("schedulingGates"), errors);
    placement::validate_topology_spread(
        spec.items("topologySpreadConstraints"),
        &path.child("topologySpreadConstraints"),
        errors,
    );
    validate_host_users(spec, path, errors);
    validate_names(spec, path, errors);
    placement::validate_tolerations(spec.items("tolerations"), &path.child("tolerations"), errors);
    validate_host_aliases(spec.items("hostAliases"), &path.child("hostAliases"), errors);

    if let Some(seconds) = spec.int("activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = format!("must be between 1 and {}, inclusive", i32::MAX);
        errors.invalid(&path.child("activeDeadlineSeconds"), seconds, detail);
    }
    if spec.present("preemptionPolicy") {
        let policy = spec.text("preemptionPolicy");
        errors.one_of(&path.child("preemptionPolicy"), policy, &["PreemptLowerPriority", "Never"]);
    }
    if spec.present("overhead") {
        let limits = serde_json::json!({ "limits": spec.sub("overhead") });
        resources::validate(&limits, &HashSet::new(), &path.child("overhead"), errors);
    }
    if spec.present("os") {
        let (os, path) = (spec.sub("os").text("name"), path.child("os"));
        if os.is_empty() {
            errors.required(&path.child("name"), "cannot be empty");
        } else if !["linux", "windows"].contains(&os) {
            errors.not_supported(&path, os, &["linux", "windows"]);
        }
    }
}

fn validate_resource_claims<'a>(claims: &'a [Value], path: &Path, errors: &mut Errors) -> HashSet<&'a str> {
    let mut known = HashSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        let name = claim.text("name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !known.insert(name) {
            errors.duplicate(&path.child("name"), name);
        } else {
            errors.messages(&path.child("name"), name, names::dns1123_label(name));
        }
        let (direct, template) = (claim.present("resourceClaimName"), claim.present("resourceClaimTemplateName"));
        if direct && template {
            let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
            errors.invalid(&path, claim.clone(), detail);
        } else if !direct && !template {
            let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
            errors.invalid(&path, claim.clone(), detail);
        }
        for field in ["resourceClaimName", "resourceClaimTemplateName"] {
            if claim.present(field) {
                errors.messages(&path.child(field), claim.text(field), names::subdomain(claim.text(field), false));
            }
        }
    }
    known
}

fn validate_host_network(spec: &Value, place: Place, path: &Path, errors: &mut Errors) {
    if spec.flag("hostNetwork") != Some(true) {
        return;
    }
    let containers = path.child("containers");
    for (index, container) in spec.items("containers").iter().enumerate() {
        let container_path = containers.index(index);
        let ports = container_path.child("ports");
        for (index, port) in container.items("ports").iter().enumerate() {
            let host = port.int("hostPort").unwrap_or(0);
            let unset_in_template = place == Place::Template && host == 0;
            if !unset_in_template && Some(host) != port.int("containerPort") {
                errors.invalid(
                    &ports.index(index).child("hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                );
            }
        }
    }
}

fn validate_shared_processes(spec: &Value, path: &Path, errors: &mut Errors) {
    if spec.flag("hostPID") == Some(true) {
        errors.invalid(
            &path.child("securityContext").child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
}

fn validate_host_users(spec: &Value, path: &Path, errors: &mut Errors) {
    if spec.flag("hostUsers") != Some(false) {
        return;
    }
    for (field, name) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if spec.flag(field) == Some(true) {
            errors.forbidden(&path.child(name), "when `hostUsers` is false");
        }
    }
}

fn validate_names(spec: &Value, path: &Path, errors: &mut Errors) {
    for field in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        let name = spec.text(field);
        if !name.is_empty() {
            errors.messages(&path.child(field), name, names::subdomain(name, false));
        }
    }
    for field in ["hostname", "subdomain"] {
        let name = spec.text(field);
        if !name.is_empty() {
            errors.messages(&path.child(field), name, names::dns1123_label(name));
        }
    }
}

fn validate_scheduling_gates(gates: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, gate) in gates.iter().enumerate() {
        let path = path.index(index);
        let name = gate.text("name");
        errors.messages(&path, name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.duplicate(&path, name);
        }
    }
}

fn validate_dns_config(spec: &Value, path: &Path, errors: &mut Errors) {
    const NAMESERVERS: usize = 3;
    const SEARCHES: usize = 32;
    const SEARCH_CHARACTERS: usize = 2048;
    let config = spec.sub("dnsConfig");
    let servers = config.items("nameservers");
    if spec.text("dnsPolicy") == "None" {
        if config.is_null() {
            errors.required(path, "must provide `dnsConfig` when `dnsPolicy` is None");
            return;
        }
        if servers.is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            errors.required(&path.child("nameservers"), detail);
            return;
        }
    }
    let servers_path = path.child("nameservers");
    if servers.len() > NAMESERVERS {
        let detail = format!("must not have more than {NAMESERVERS} nameservers");
        errors.invalid(&servers_path, config.sub("nameservers").clone(), detail);
    }
    for (index, server) in config.strings("nameservers").enumerate() {
        ip(server, &servers_path.index(index), errors);
    }
    let searches = config.items("searches");
    let searches_path = path.child("searches");
    if searches.len() > SEARCHES {
        let detail = format!("must not have more than {SEARCHES} search paths");
        errors.invalid(&searches_path, config.sub("searches").clone(), detail);
    }
    let characters = config.strings("searches").map(|search| search.len() + 1).sum::<usize>().saturating_sub(1);
    if characters > SEARCH_CHARACTERS {
        let detail =
            format!("must not have more than {SEARCH_CHARACTERS} characters (including spaces) in the search list");
        errors.invalid(&searches_path, config.sub("searches").clone(), detail);
    }
    for (index, search) in config.strings("searches").enumerate() {
        if search != "." {
            let search = search.strip_suffix('.').unwrap_or(search);
            errors.messages(&searches_path.index(index), search, names::subdomain_with_underscore(search));
        }
    }
    let options = path.child("options");
    for (index, option) in config.items("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.required(&options.index(index), "must not be empty");
        }
    }
}

fn validate_host_aliases(aliases: &[Value], path: &Path, errors: &mut Errors) {
    for (index, alias) in aliases.iter().enumerate() {
        let path = path.index(index);
        ip(alias.text("ip"), &path.child("ip"), errors);
        let names_path = path.child("hostnames");
        for (index, name) in alias.strings("hostnames").enumerate() {
            errors.messages(&names_path.index(index), name, names::dns1123_subdomain(name));
        }
    }
}

pub fn ip(address: &str, path: &Path, errors: &mut Errors) {
    if address.parse::<IpAddr>().is_err() {
        errors.invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
}
