//! The rules of requests and limits.

use std::collections::HashSet;

use serde_json::Value;

use crate::kinds::fields::Fields;
use crate::kinds::validation::quantities::{is_extended, is_huge_pages, is_native, may_overcommit};
use crate::kinds::validation::{Errors, Path, names, quantity_of, resource_quantity};

pub fn validate(resources: &Value, claim_names: &HashSet<&str>, path: &Path, errors: &mut Errors) {
    validate_amounts(resources, container_resource_name, path, errors);
    validate_claims(resources.items("claims"), claim_names, &path.child("claims"), errors);
}

/// Resources of the pod as a whole (KEP-2837).
pub fn validate_pod_level(resources: &Value, path: &Path, errors: &mut Errors) {
    if resources.present("claims") {
        errors.forbidden(&path.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    validate_amounts(resources, pod_resource_name, path, errors);
}

fn validate_amounts(resources: &Value, name_rule: fn(&str, &Path, &mut Errors), path: &Path, errors: &mut Errors) {
    let (limits_path, requests_path) = (path.child("limits"), path.child("requests"));
    let (mut computes, mut huge_pages) = (false, false);
    let limits = resources.map("limits");
    for (name, amount) in limits.into_iter().flatten() {
        let path = limits_path.key(name);
        name_rule(name, &path, errors);
        if let Some(amount) = quantity_of(amount) {
            resource_quantity(name, &amount, &path, errors);
        }
        huge_pages |= is_huge_pages(name);
        computes |= name == "cpu" || name == "memory";
    }
    for (name, amount) in resources.map("requests").into_iter().flatten() {
        let path = requests_path.key(name);
        name_rule(name, &path, errors);
        let Some(request) = quantity_of(amount) else { continue };
        resource_quantity(name, &request, &path, errors);
        match limits.and_then(|limits| limits.get(name)).and_then(quantity_of) {
            Some(limit) if request != limit && !may_overcommit(name) => {
                errors.invalid(
                    &requests_path,
                    request.to_string(),
                    format!("must be equal to {name} limit of {limit}"),
                );
            }
            Some(limit) if request > limit => {
                errors.invalid(
                    &requests_path,
                    request.to_string(),
                    format!("must be less than or equal to {name} limit of {limit}"),
                );
            }
            None if !may_overcommit(name) => {
                errors.required(&limits_path, "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        huge_pages |= is_huge_pages(name);
        computes |= name == "cpu" || name == "memory";
    }
    if huge_pages && !computes {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn container_resource_name(name: &str, path: &Path, errors: &mut Errors) {
    let messages = names::qualified_name(name);
    if !messages.is_empty() {
        errors.messages(path, name, messages);
    } else if !name.contains('/') {
        if !["cpu", "memory", "ephemeral-storage"].contains(&name) && !is_huge_pages(name) {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

fn pod_resource_name(name: &str, path: &Path, errors: &mut Errors) {
    let messages = names::qualified_name(name);
    if !messages.is_empty() {
        errors.messages(path, name, messages);
    } else if !["cpu", "memory"].contains(&name) && !is_huge_pages(name) {
        errors.not_supported(path, name, &["cpu", "hugepages-", "memory"]);
    }
}

fn validate_claims(claims: &[Value], claim_names: &HashSet<&str>, path: &Path, errors: &mut Errors) {
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        let overlaps = |(known, part): &(&str, &str)| {
            *known == name && (part.is_empty() || request.is_empty() || *part == request)
        };
        if seen.iter().any(overlaps) {
            let text = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            errors.duplicate(&path, text);
        }
        seen.insert((name, request));
        if !request.is_empty() {
            errors.messages(&path.child("request"), request, names::dns1123_label(request));
        }
        if !claim_names.contains(name) {
            let mut known: Vec<&str> = claim_names.iter().copied().collect();
            known.sort_unstable();
            let which = if known.is_empty() { " which is empty".to_owned() } else { format!(": {}", known.join(", ")) };
            errors.not_found_because(
                &path,
                name,
                format!("must be one of the names in pod.spec.resourceClaims{which}"),
            );
        }
    }
}
