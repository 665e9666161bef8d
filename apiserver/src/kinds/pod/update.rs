//! What may change in a pod after its creation: hardly anything of its spec, and of its status what is not history.

use serde_json::Value;

use super::annotations;
use super::containers::is_sidecar;
use super::placement;
use super::spec::ip;
use crate::kinds::fields::{Fields, FieldsMut, same};
use crate::kinds::validation::{Errors, Path, names};

const MAY_CHANGE: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub fn validate_spec(new: &Value, old: &Value, errors: &mut Errors) {
    let metadata = Path::root("metadata");
    annotations::validate_update(new.sub("metadata"), old.sub("metadata"), &metadata.child("annotations"), errors);

    let path = Path::root("spec");
    let (new, old) = (new.sub("spec"), old.sub("spec"));
    for list in ["containers", "initContainers"] {
        if !validate_images(new.items(list), old.items(list), &path.child(list), errors) {
            return;
        }
    }
    if !validate_deadline(new, old, &path.child("activeDeadlineSeconds"), errors) {
        return;
    }
    validate_tolerations(new, old, &path.child("tolerations"), errors);
    validate_gates(new, old, &path.child("schedulingGates"), errors);
    if same(new, old) {
        return;
    }

    // what may differ is made equal; whatever then still differs may not
    let mut rest = new.clone();
    for list in ["containers", "initContainers"] {
        for (container, before) in rest.items_mut(list).iter_mut().zip(old.items(list)) {
            container.put("image", before.sub("image").clone());
        }
    }
    let mut allowed = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    let grace = |spec: &Value| spec.int("terminationGracePeriodSeconds");
    if grace(old).is_some_and(|seconds| seconds < 0) && grace(&rest) == Some(1) {
        allowed.push("terminationGracePeriodSeconds");
    }
    if !old.items("schedulingGates").is_empty() {
        validate_gated_placement(&mut rest, old, &path, errors);
    }
    for field in allowed {
        rest.put(field, old.sub(field).clone());
    }
    if !same(&rest, old) {
        let mut differences = String::new();
        describe_difference(&rest, old, "spec", &mut differences);
        errors.forbidden(&path, format!("{MAY_CHANGE}\n{differences}"));
    }
}

/// False when the lists cannot be compared further.
fn validate_images(new: &[Value], old: &[Value], path: &Path, errors: &mut Errors) -> bool {
    if new.len() != old.len() {
        errors.forbidden(path, "pod updates may not add or remove containers");
        return false;
    }
    for (index, container) in new.iter().enumerate() {
        let path = path.index(index);
        let image = container.text("image");
        if image.is_empty() {
            errors.required(&path.child("image"), "");
        }
        if image.trim() != image {
            errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
        }
    }
    true
}

fn validate_deadline(new: &Value, old: &Value, path: &Path, errors: &mut Errors) -> bool {
    let (new, old) = (new.int("activeDeadlineSeconds"), old.int("activeDeadlineSeconds"));
    match (new, old) {
        (Some(new), _) if !(0..=i64::from(i32::MAX)).contains(&new) => {
            errors.invalid(path, new, format!("must be between 0 and {}, inclusive", i32::MAX));
            false
        }
        (Some(new), Some(old)) if old < new => {
            errors.invalid(path, new, "must be less than or equal to previous value");
            false
        }
        (None, Some(_)) => {
            errors.invalid(path, Value::Null, "must not update from a positive integer to nil value");
            true
        }
        _ => true,
    }
}

/// Tolerations may be added, and the seconds of one may change.
fn validate_tolerations(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    let (new, old) = (new.items("tolerations"), old.items("tolerations"));
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        toleration.remove_field("tolerationSeconds");
        toleration
    };
    for before in old {
        let before = without_seconds(before);
        if !new.iter().any(|after| same(&without_seconds(after), &before)) {
            errors.forbidden(path, "existing toleration can not be modified except its tolerationSeconds");
            return;
        }
    }
    placement::validate_tolerations(new, path, errors);
}

fn validate_gates(new: &Value, old: &Value, path: &Path, errors: &mut Errors) {
    for (index, gate) in new.items("schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !old.items("schedulingGates").iter().any(|known| known.text("name") == name) {
            errors.forbidden(
                &path.index(index).child("name"),
                format!("only deletion is allowed, but found new scheduling gate '{name}'"),
            );
        }
    }
}

/// A gated pod's placement may still be narrowed: node selectors added, node affinity made stricter.
fn validate_gated_placement(new: &mut Value, old: &Value, path: &Path, errors: &mut Errors) {
    let selector = path.child("nodeSelector");
    for (key, value) in old.entries("nodeSelector") {
        match new.sub("nodeSelector").get(key).and_then(Value::as_str) {
            None => errors.invalid(
                &selector.key(key),
                new.sub("nodeSelector").clone(),
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
            ),
            Some(now) if now != value => errors.invalid(
                &selector.key(key),
                now.to_owned(),
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)",
            ),
            Some(_) => {}
        }
    }
    new.put("nodeSelector", old.sub("nodeSelector").clone());

    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let terms = |spec: &Value| spec.at(&["affinity", "nodeAffinity", REQUIRED, "nodeSelectorTerms"]).clone();
    let (new_terms, old_terms) = (terms(new), terms(old));
    if let Some(old_terms) = old_terms.as_array() {
        let affinity = path.child("affinity");
        let node = affinity.child("nodeAffinity");
        let required = node.child(REQUIRED);
        let terms_path = required.child("nodeSelectorTerms");
        let new_terms = new_terms.as_array().cloned().unwrap_or_default();
        if new_terms.len() != old_terms.len() {
            errors.invalid(
                &terms_path,
                Value::Array(new_terms.clone()),
                "no additions/deletions to non-empty NodeSelectorTerms list are allowed",
            );
        } else {
            for (index, (after, before)) in new_terms.iter().zip(old_terms).enumerate() {
                if !is_narrowed(after, before) {
                    errors.invalid(
                        &terms_path.index(index),
                        after.clone(),
                        "only additions are allowed (no mutations or deletions)",
                    );
                }
            }
        }
    }
    if new.present("affinity") || old.present("affinity") {
        let before = old.at(&["affinity", "nodeAffinity"]).clone();
        new.object("affinity").put("nodeAffinity", before);
    }
}

fn is_narrowed(after: &Value, before: &Value) -> bool {
    ["matchExpressions", "matchFields"].iter().all(|field| {
        let (after, before) = (after.items(field), before.items(field));
        before.len() <= after.len() && before.iter().zip(after).all(|(before, after)| same(before, after))
    })
}

/// One line for each field that differs: what it was with `-`, what it would be with `+`.
fn describe_difference(new: &Value, old: &Value, path: &str, out: &mut String) {
    const LONGEST: usize = 4096;
    if same(new, old) || out.len() > LONGEST {
        return;
    }
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let field = |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or(Value::Null);
                describe_difference(&field(new), &field(old), &format!("{path}.{key}"), out);
            }
        }
        (Value::Array(new), Value::Array(old)) if new.len() == old.len() => {
            for (index, (new, old)) in new.iter().zip(old).enumerate() {
                describe_difference(new, old, &format!("{path}[{index}]"), out);
            }
        }
        _ => {
            for (sign, value) in [('-', old), ('+', new)] {
                if !value.is_null() {
                    out.push_str(&format!("{sign} {path}: {value}\n"));
                }
            }
        }
    }
}

pub fn validate_status(new: &Value, old: &Value, errors: &mut Errors) {
    let metadata = Path::root("metadata");
    annotations::validate_update(new.sub("metadata"), old.sub("metadata"), &metadata.child("annotations"), errors);

    let path = Path::root("status");
    let spec = old.sub("spec");
    let (new, old) = (new.sub("status"), old.sub("status"));
    let nominated = new.text("nominatedNodeName");
    if nominated != old.text("nominatedNodeName") && !nominated.is_empty() {
        errors.messages(&path.child("nominatedNodeName"), nominated, names::subdomain(nominated, false));
    }
    errors.immutable(&path.child("qosClass"), new.sub("qosClass"), old.sub("qosClass"));
    for (index, condition) in new.items("conditions").iter().enumerate() {
        let kind = condition.text("type");
        if !["PodScheduled", "Ready", "Initialized"].contains(&kind) {
            let conditions = metadata.child("conditions");
            errors.messages(&conditions.index(index).child("Type"), kind, names::qualified_name(kind));
        }
    }
    let policy = spec.text("restartPolicy");
    for (list, policy) in
        [("containerStatuses", policy), ("initContainerStatuses", policy), ("ephemeralContainerStatuses", "Never")]
    {
        validate_transitions(new.items(list), old.items(list), policy, spec, &path.child(list), errors);
    }
    for (list, single) in [("podIPs", None), ("hostIPs", Some("hostIP"))] {
        validate_ips(new, list, single, &path.child(list), errors);
    }
}

/// A container that ended for good does not come back.
fn validate_transitions(new: &[Value], old: &[Value], policy: &str, spec: &Value, path: &Path, errors: &mut Errors) {
    if policy == "Always" {
        return;
    }
    for (index, before) in old.iter().enumerate() {
        let ended = before.at(&["state", "terminated"]);
        let name = before.text("name");
        let failed = ended.int("exitCode").unwrap_or(0) != 0;
        if ended.is_null() || (failed && policy == "OnFailure") || restarts_by_itself(spec, name) {
            continue;
        }
        let revived =
            new.iter().any(|after| after.text("name") == name && after.at(&["state", "terminated"]).is_null());
        if revived {
            errors.forbidden(&path.index(index).child("state"), "may not be transitioned to non-terminated state");
        }
    }
}

/// Sidecars, and containers with a restart policy of their own.
fn restarts_by_itself(spec: &Value, name: &str) -> bool {
    let init = spec.items("initContainers").iter().find(|container| container.text("name") == name);
    let regular = spec.items("containers").iter().find(|container| container.text("name") == name);
    init.is_some_and(is_sidecar)
        || regular.is_some_and(|container| {
            !container.text("restartPolicy").is_empty() || !container.items("restartPolicyRules").is_empty()
        })
}

fn validate_ips(status: &Value, list: &str, single: Option<&str>, path: &Path, errors: &mut Errors) {
    let addresses = status.items(list);
    if let (Some(single), Some(first)) = (single, addresses.first())
        && status.text(single) != first.text("ip")
    {
        errors.invalid(&path.index(0).child("ip"), first.text("ip"), format!("must be equal to `{single}`"));
    }
    let mut families = [0, 0];
    let mut seen = std::collections::HashSet::new();
    for (index, address) in addresses.iter().enumerate() {
        let text = address.text("ip");
        ip(text, &path.index(index), errors);
        families[usize::from(text.contains(':'))] += 1;
        if !seen.insert(text) {
            errors.duplicate(&path.index(index), address.clone());
        }
    }
    if families.iter().any(|count| *count > 1) {
        errors.invalid(path, Value::Array(addresses.to_vec()), "may specify no more than one IP for each IP family");
    }
}
