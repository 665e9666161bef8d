//! The rules of a pod's containers: regular, init and ephemeral.

use std::collections::HashSet;

use serde_json::Value;

use super::volumes::Volumes;
use super::{env, mounts, probes, resources, security};
use crate::kinds::fields::Fields;
use crate::kinds::validation::{Errors, Path, names, ports};

/// What a container's rules need to know of its pod.
pub struct PodFacts<'a> {
    pub volumes: &'a Volumes<'a>,
    pub claim_names: HashSet<&'a str>,
    pub grace_period: Option<i64>,
    pub restart_policy: &'a str,
    pub host_users: bool,
}

const FOR_SIDECAR_ONLY: &str = "may not be set for init containers without restartPolicy=Always";
const NOT_FOR_EPHEMERAL: &str = "cannot be set for an Ephemeral Container";

pub fn validate_regular(containers: &[Value], facts: &PodFacts, path: &Path, errors: &mut Errors) {
    if containers.is_empty() {
        errors.required(path, "");
        return;
    }
    let mut names = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        validate_common(container, facts, &path, errors);
        if !names.insert(container.text("name")) {
            errors.duplicate(&path.child("name"), container.text("name"));
        }
        validate_hooks_and_probes(container, facts, &path, errors);
        validate_restart_rules(container, &path, errors);
    }
    host_port_conflicts(containers, path, &mut HashSet::new(), errors);
}

pub fn validate_init(init: &[Value], regular: &[Value], facts: &PodFacts, path: &Path, errors: &mut Errors) {
    let mut names: HashSet<&str> = regular.iter().map(|container| container.text("name")).collect();
    for (index, container) in init.iter().enumerate() {
        let list = path;
        let path = path.index(index);
        validate_common(container, facts, &path, errors);
        validate_restart_rules(container, &path, errors);
        let name = container.text("name");
        if names.contains(name) {
            errors.duplicate(&path.child("name"), name);
        } else if !name.is_empty() {
            names.insert(name);
        }
        // init containers run one by one, so each is judged alone
        host_port_conflicts(std::slice::from_ref(container), list, &mut HashSet::new(), errors);

        if is_sidecar(container) {
            validate_hooks_and_probes(container, facts, &path, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.present(field) {
                errors.forbidden(&path.child(field), FOR_SIDECAR_ONLY);
            }
        }
    }
}

pub fn is_sidecar(container: &Value) -> bool {
    container.text("restartPolicy") == "Always"
}

pub fn validate_ephemeral(spec: &Value, facts: &PodFacts, path: &Path, errors: &mut Errors) {
    let mut others = HashSet::new();
    for list in ["containers", "initContainers"] {
        others.extend(spec.items(list).iter().map(|container| container.text("name")));
    }
    let mut names = others.clone();
    for (index, container) in spec.items("ephemeralContainers").iter().enumerate() {
        let path = path.index(index);
        validate_common(container, facts, &path, errors);
        validate_for_pod(container, &path, errors);
        let name = container.text("name");
        if !names.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&path.child("targetContainerName"), target);
        }
        for field in [
            "ports",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
        ] {
            let set = match container.sub(field) {
                Value::Array(items) => !items.is_empty(),
                other => !other.is_null(),
            };
            if set {
                errors.forbidden(&path.child(field), NOT_FOR_EPHEMERAL);
            }
        }
        if container.map("resources").is_some_and(|resources| !resources.is_empty()) {
            errors.forbidden(&path.child("resources"), NOT_FOR_EPHEMERAL);
        }
        let mounts_path = path.child("volumeMounts");
        for (index, mount) in container.items("volumeMounts").iter().enumerate() {
            let path = mounts_path.index(index);
            for field in ["subPath", "subPathExpr"] {
                if !mount.text(field).is_empty() {
                    errors.forbidden(&path.child(field), NOT_FOR_EPHEMERAL);
                }
            }
        }
    }
}

/// What holds for a container of a pod, and by history not for one of a template.
pub fn validate_for_pod(container: &Value, path: &Path, errors: &mut Errors) {
    let image = container.text("image");
    if image.trim() != image {
        errors.invalid(&path.child("image"), image, "must not have leading or trailing whitespace");
    }
}

fn validate_common(container: &Value, facts: &PodFacts, path: &Path, errors: &mut Errors) {
    let name = container.text("name");
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.messages(&path.child("name"), name, names::dns1123_label(name));
    }
    if container.text("image").is_empty() {
        errors.required(&path.child("image"), "");
    }
    errors.one_of(
        &path.child("terminationMessagePolicy"),
        container.text("terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
    );
    ports::container_ports(container.items("ports"), &path.child("ports"), errors);
    env::validate_env(container.items("env"), facts.volumes, &path.child("env"), errors);
    env::validate_env_from(container.items("envFrom"), &path.child("envFrom"), errors);
    mounts::validate_mounts(container, facts.volumes, &path.child("volumeMounts"), errors);
    mounts::validate_devices(container, facts.volumes, &path.child("volumeDevices"), errors);
    errors.one_of(
        &path.child("imagePullPolicy"),
        container.text("imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
    );
    resources::validate(container.sub("resources"), &facts.claim_names, &path.child("resources"), errors);
    validate_resize_policy(container.items("resizePolicy"), facts.restart_policy, &path.child("resizePolicy"), errors);
    security::validate_container(
        container.sub("securityContext"),
        facts.host_users,
        &path.child("securityContext"),
        errors,
    );
}

fn validate_hooks_and_probes(container: &Value, facts: &PodFacts, path: &Path, errors: &mut Errors) {
    if container.present("lifecycle") {
        probes::validate_lifecycle(container.sub("lifecycle"), facts.grace_period, &path.child("lifecycle"), errors);
    }
    for kind in [probes::Kind::Liveness, probes::Kind::Readiness, probes::Kind::Startup] {
        let probe = container.sub(kind.field());
        if !probe.is_null() {
            probes::validate(probe, kind, facts.grace_period, &path.child(kind.field()), errors);
        }
    }
}

/// KEP-5307: a container may say how it restarts. An init container with Always is a sidecar; rules need a policy.
fn validate_restart_rules(container: &Value, path: &Path, errors: &mut Errors) {
    let policy = container.text("restartPolicy");
    let rules = container.items("restartPolicyRules");
    if !policy.is_empty() {
        errors.one_of(&path.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
    } else if !rules.is_empty() {
        errors.required(&path.child("restartPolicy"), "must specify restartPolicy when restart rules are used");
    }
    const RULES_LIMIT: usize = 20;
    const CODES_LIMIT: usize = 255;
    let rules_path = path.child("restartPolicyRules");
    if rules.len() > RULES_LIMIT {
        errors.too_many(&rules_path, rules.len(), RULES_LIMIT);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = rules_path.index(index);
        errors.one_of(&path.child("action"), rule.text("action"), &["Restart", "RestartAllContainers"]);
        let codes = rule.sub("exitCodes");
        let codes_path = path.child("exitCodes");
        if codes.is_null() {
            errors.required(&codes_path, "must be specified");
            continue;
        }
        errors.one_of(&codes_path.child("operator"), codes.text("operator"), &["In", "NotIn"]);
        let values = codes.items("values");
        if values.is_empty() {
            errors.invalid(
                &codes_path.child("values"),
                codes.sub("values").clone(),
                "at least one value must be specified",
            );
        } else if values.len() > CODES_LIMIT {
            errors.too_many(&codes_path.child("values"), values.len(), CODES_LIMIT);
        }
    }
}

fn validate_resize_policy(policies: &[Value], restart_policy: &str, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (index, policy) in policies.iter().enumerate() {
        let resource = policy.text("resourceName");
        if !seen.insert(resource) {
            errors.duplicate(&path.index(index), resource);
        }
        errors.one_of(path, resource, &["cpu", "memory"]);
        let restart = policy.text("restartPolicy");
        errors.one_of(path, restart, &["NotRequired", "RestartContainer"]);
        if restart_policy == "Never" && restart != "NotRequired" {
            errors.invalid(path, restart, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

fn host_port_conflicts(containers: &[Value], path: &Path, taken: &mut HashSet<String>, errors: &mut Errors) {
    for (index, container) in containers.iter().enumerate() {
        let container_path = path.index(index);
        let ports_path = container_path.child("ports");
        for (index, port) in container.items("ports").iter().enumerate() {
            let host_port = port.int("hostPort").unwrap_or(0);
            if host_port == 0 {
                continue;
            }
            let claim = format!("{}/{}/{host_port}", port.text("protocol"), port.text("hostIP"));
            if !taken.insert(claim.clone()) {
                errors.duplicate(&ports_path.index(index).child("hostPort"), claim);
            }
        }
    }
}
