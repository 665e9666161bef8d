//! The rules of where a pod may run: affinity, tolerations, topology spread.

use std::collections::HashSet;

use serde_json::Value;

use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path, meta, names, selectors};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const WEIGHT_TEXT: &str = "must be in the range 1-100";
const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];

pub fn validate_affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    let node = affinity.sub("nodeAffinity");
    if !node.is_null() {
        node_affinity(node, &path.child("nodeAffinity"), errors);
    }
    for field in ["podAffinity", "podAntiAffinity"] {
        let pods = affinity.sub(field);
        let path = path.child(field);
        let required = path.child(REQUIRED);
        for (index, term) in pods.items(REQUIRED).iter().enumerate() {
            pod_term(term, &required.index(index), errors);
        }
        let preferred = path.child(PREFERRED);
        for (index, term) in pods.items(PREFERRED).iter().enumerate() {
            let path = preferred.index(index);
            weight(term, &path, errors);
            pod_term(term.sub("podAffinityTerm"), &path.child("podAffinityTerm"), errors);
        }
    }
}

fn weight(term: &Value, path: &Path, errors: &mut Errors) {
    let weight = term.int("weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        errors.invalid(&path.child("weight"), weight, WEIGHT_TEXT);
    }
}

fn node_affinity(affinity: &Value, path: &Path, errors: &mut Errors) {
    if affinity.present(REQUIRED) {
        node_selector(affinity.sub(REQUIRED), &path.child(REQUIRED), errors);
    }
    let preferred = path.child(PREFERRED);
    for (index, term) in affinity.items(PREFERRED).iter().enumerate() {
        let path = preferred.index(index);
        weight(term, &path, errors);
        node_term(term.sub("preference"), false, &path.child("preference"), errors);
    }
}

fn node_selector(selector: &Value, path: &Path, errors: &mut Errors) {
    let terms = selector.items("nodeSelectorTerms");
    let path = path.child("nodeSelectorTerms");
    if terms.is_empty() {
        errors.required(&path, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, true, &path.index(index), errors);
    }
}

/// A preferred term may name values that no label can have: it then just never matches.
fn node_term(term: &Value, strict_values: bool, path: &Path, errors: &mut Errors) {
    let expressions = path.child("matchExpressions");
    for (index, requirement) in term.items("matchExpressions").iter().enumerate() {
        let path = expressions.index(index);
        let count = requirement.items("values").len();
        match requirement.text("operator") {
            "In" | "NotIn" if count == 0 => {
                errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if count > 0 => errors
                .forbidden(&path.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
            "Gt" | "Lt" if count != 1 => {
                errors
                    .required(&path.child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'");
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        meta::label_name(requirement.text("key"), &path.child("key"), errors);
        if strict_values {
            let values = path.child("values");
            for (index, value) in requirement.strings("values").enumerate() {
                errors.messages(&values.index(index), value, names::label_value(value));
            }
        }
    }
    let fields = path.child("matchFields");
    for (index, requirement) in term.items("matchFields").iter().enumerate() {
        let path = fields.index(index);
        match requirement.text("operator") {
            "In" | "NotIn" => {
                if requirement.items("values").len() != 1 {
                    errors.required(
                        &path.child("values"),
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                    );
                }
            }
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        let key = requirement.text("key");
        if key != "metadata.name" {
            errors.invalid(&path.child("key"), key, "not a valid field selector key");
            continue;
        }
        let values = path.child("values");
        for (index, value) in requirement.strings("values").enumerate() {
            errors.messages(&values.index(index), value, names::dns1123_subdomain(value));
        }
    }
}

fn pod_term(term: &Value, path: &Path, errors: &mut Errors) {
    selectors::validate(term.sub("labelSelector"), &path.child("labelSelector"), errors);
    selectors::validate(term.sub("namespaceSelector"), &path.child("namespaceSelector"), errors);
    for namespace in term.strings("namespaces") {
        errors.messages(&path.child("namespace"), namespace, names::dns1123_label(namespace));
    }
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        label_keys(term, field, &path.child(field), errors);
    }
    let keys = path.child("matchLabelKeys");
    for (index, key) in term.strings("matchLabelKeys").enumerate() {
        if term.strings("mismatchLabelKeys").any(|other| other == key) {
            errors.invalid(&keys.index(index), key, "exists in both matchLabelKeys and mismatchLabelKeys");
        }
    }
    let topology = term.text("topologyKey");
    if topology.is_empty() {
        errors.required(&path.child("topologyKey"), "can not be empty");
    }
    meta::label_name(topology, &path.child("topologyKey"), errors);
}

fn label_keys(holder: &Value, field: &str, path: &Path, errors: &mut Errors) {
    if holder.items(field).is_empty() {
        return;
    }
    if !holder.present("labelSelector") {
        errors.forbidden(path, "must not be specified when labelSelector is not set");
        return;
    }
    for (index, key) in holder.strings(field).enumerate() {
        meta::label_name(key, &path.index(index), errors);
    }
}

pub fn validate_tolerations(tolerations: &[Value], path: &Path, errors: &mut Errors) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator) = (toleration.text("key"), toleration.text("operator"));
        let (value, effect) = (toleration.text("value"), toleration.text("effect"));
        if !key.is_empty() {
            meta::label_name(key, &path.child("key"), errors);
        } else if operator != "Exists" {
            errors.invalid(
                &path.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.present("tolerationSeconds") && effect != "NoExecute" {
            errors.invalid(&path.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "" | "Equal" => {
                let broken = names::label_value(value);
                if !broken.is_empty() {
                    errors.invalid(&path.child("operator"), value, broken.join(";"));
                }
            }
            "Exists" => {
                if !value.is_empty() {
                    errors.invalid(&path.child("operator"), value, "value must be empty when `operator` is 'Exists'");
                }
            }
            other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.not_supported(&path.child("effect"), effect, EFFECTS);
        }
    }
}

pub fn validate_taints(taints: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (taint.text("key"), taint.text("value"), taint.text("effect"));
        meta::label_name(key, &path.child("key"), errors);
        let broken = names::label_value(value);
        if !broken.is_empty() {
            errors.invalid(&path.child("value"), value, broken.join(";"));
        }
        errors.one_of(&path.child("effect"), effect, EFFECTS);
        if !seen.insert((key, effect)) {
            errors.duplicate_because(&path, taint.clone(), "taints must be unique by key and effect pair");
        }
    }
}

pub fn validate_topology_spread(constraints: &[Value], path: &Path, errors: &mut Errors) {
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.index(index);
        let skew = constraint.int("maxSkew").unwrap_or(0);
        if skew <= 0 {
            errors.invalid(&path.child("maxSkew"), skew, "must be greater than zero");
        }
        let (topology, when) = (constraint.text("topologyKey"), constraint.text("whenUnsatisfiable"));
        if topology.is_empty() {
            errors.required(&path.child("topologyKey"), "can not be empty");
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&when) {
            errors.not_supported(&path.child("whenUnsatisfiable"), when, &["DoNotSchedule", "ScheduleAnyway"]);
        }
        let same_pair =
            |other: &Value| other.text("topologyKey") == topology && other.text("whenUnsatisfiable") == when;
        if constraints[index + 1..].iter().any(same_pair) {
            errors.duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), format!("{{{topology}, {when}}}"));
        }
        if let Some(domains) = constraint.int("minDomains") {
            if domains <= 0 {
                errors.invalid(&path.child("minDomains"), domains, "must be greater than zero");
            }
            if when != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {when}");
                errors.invalid(&path.child("minDomains"), domains, detail);
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            let policy = constraint.text(field);
            if constraint.present(field) && !["Honor", "Ignore"].contains(&policy) {
                errors.not_supported(&path.child(field), policy, &["Honor", "Ignore"]);
            }
        }
        label_keys(constraint, "matchLabelKeys", &path.child("matchLabelKeys"), errors);
        let selector = constraint.sub("labelSelector");
        let keys = path.child("matchLabelKeys");
        for (index, key) in constraint.strings("matchLabelKeys").enumerate() {
            // one expression is the key's own, resolved when the pod was made
            let in_labels = selector.sub("matchLabels").get(key).is_some();
            let own = |expression: &&Value| expression.text("key") == key;
            if in_labels || selector.items("matchExpressions").iter().filter(own).count() > 1 {
                errors.invalid(&keys.index(index), key, "exists in both matchLabelKeys and labelSelector");
            }
        }
        selectors::validate(selector, &path.child("labelSelector"), errors);
    }
}
