//! Readings of a pod's spec that several modules share: which container is what, who is restarted, how long an end may take.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::memory::PodVerdict;
use super::observation::Exit;

/// What a container of the spec is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to completion before the next one.
    Init,
    /// An init container that is restarted for ever and runs beside the others (KEP-753).
    Sidecar,
    App,
}

pub fn role_of_init(container: &Container) -> Role {
    match container.restart_policy.as_deref() {
        Some("Always") => Role::Sidecar,
        _ => Role::Init,
    }
}

/// The pod's spec; an empty one for an object that has none.
pub fn spec(pod: &Pod) -> &PodSpec {
    static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
    pod.spec.as_ref().unwrap_or(&EMPTY)
}

pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).init_containers.as_deref().unwrap_or_default()
}

pub fn app_containers(pod: &Pod) -> &[Container] {
    &spec(pod).containers
}

/// Init containers in order, then the app containers.
pub fn all_containers(pod: &Pod) -> impl Iterator<Item = (&Container, Role)> {
    let init = init_containers(pod).iter().map(|container| (container, role_of_init(container)));
    init.chain(app_containers(pod).iter().map(|container| (container, Role::App)))
}

pub fn find_container<'a>(pod: &'a Pod, name: &str) -> Option<(&'a Container, Role)> {
    all_containers(pod).find(|(container, _)| container.name == name)
}

/// Containers whose image is another than before, by name.
pub fn changed_images(before: &Pod, now: &Pod) -> Vec<String> {
    let image = |container: &Container| container.image.clone();
    all_containers(now)
        .filter(|(container, _)| {
            find_container(before, &container.name).is_some_and(|(old, _)| image(old) != image(container))
        })
        .map(|(container, _)| container.name.clone())
        .collect()
}

pub fn restart_policy(pod: &Pod) -> &str {
    spec(pod).restart_policy.as_deref().unwrap_or("Always")
}

pub fn is_host_network(pod: &Pod) -> bool {
    spec(pod).host_network.unwrap_or(false)
}

/// Whether a container that ended as `exit` says is to be started again: its own rules first (KEP-5307), then its own
/// policy, then the pod's. An init container that succeeded never is.
pub fn should_restart(pod: &Pod, container: &Container, role: Role, exit: &Exit) -> bool {
    if role == Role::Sidecar {
        return true;
    }
    if role == Role::Init && exit.code == 0 {
        return false;
    }
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|code| *code == exit.code);
        let matched = match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if matched && rule.action == "Restart" {
            return true;
        }
    }
    match container.restart_policy.as_deref().unwrap_or(restart_policy(pod)) {
        "Never" => false,
        "OnFailure" => exit.code != 0,
        _ => true,
    }
}

/// Seconds between the stop signal and the kill when the whole pod ends: at least one, as the kubelet has it.
pub fn grace_seconds(pod: &Pod, verdict: Option<&PodVerdict>) -> i64 {
    let wanted =
        pod.metadata.deletion_grace_period_seconds.or(spec(pod).termination_grace_period_seconds).unwrap_or(30);
    let overridden = verdict.and_then(|verdict| verdict.grace).map_or(wanted, |grace| grace.min(wanted));
    overridden.max(1)
}

/// `name_namespace(uid)`, as upstream's messages name a pod.
pub fn long_name(pod: &Pod) -> String {
    format!("{}_{}({})", name(pod), namespace(pod), uid(pod))
}

pub fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub fn namespace(pod: &Pod) -> &str {
    pod.metadata.namespace.as_deref().unwrap_or_default()
}

pub fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

/// The API server has marked the pod for deletion.
pub fn is_deleted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}
