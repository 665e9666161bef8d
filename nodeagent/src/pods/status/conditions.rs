//! `status.conditions`: the kubelet's five, beside those that others keep.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::spec::{self, Role};
use super::{Inputs, phase};

const OWNED: [&str; 4] = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"];

/// A condition before its times are filled in.
struct Verdict {
    status: &'static str,
    reason: Option<&'static str>,
    message: Option<String>,
}

impl Verdict {
    fn yes() -> Self {
        Verdict { status: "True", reason: None, message: None }
    }

    fn no(reason: &'static str, message: Option<String>) -> Self {
        Verdict { status: "False", reason: Some(reason), message }
    }
}

pub fn conditions(
    inputs: &Inputs<'_>,
    phase: &str,
    init: &[ContainerStatus],
    app: &[ContainerStatus],
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(inputs, phase, init, app);
    let ready = ready(inputs, &containers_ready);
    let verdicts = [ready_to_start(inputs), initialized(inputs, phase, init, app), ready, containers_ready];
    let previous = inputs.previous.conditions.as_deref().unwrap_or_default();
    let theirs = inputs.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();

    let mut conditions: Vec<PodCondition> = OWNED
        .iter()
        .zip(verdicts)
        .map(|(kind, verdict)| {
            let known = previous.iter().find(|condition| condition.type_ == *kind);
            let since =
                known.filter(|known| known.status == verdict.status).and_then(|k| k.last_transition_time.clone());
            PodCondition {
                type_: (*kind).to_owned(),
                status: verdict.status.to_owned(),
                reason: verdict.reason.map(str::to_owned),
                message: verdict.message,
                last_transition_time: Some(since.unwrap_or(Time(inputs.now))),
                observed_generation: inputs.pod.metadata.generation,
                ..PodCondition::default()
            }
        })
        .collect();
    // PodScheduled, readiness gates, DisruptionTarget …: each belongs to whoever wrote it.
    conditions.extend(theirs.iter().filter(|condition| !OWNED.contains(&condition.type_.as_str())).cloned());
    conditions
}

/// The sandbox runs and has its network (KEP-3085).
fn ready_to_start(inputs: &Inputs<'_>) -> Verdict {
    let networked = |ips: &[std::net::IpAddr]| spec::is_host_network(inputs.pod) || !ips.is_empty();
    match inputs.seen.running_sandbox() {
        Some(sandbox) if networked(&sandbox.ips) => Verdict::yes(),
        _ => Verdict { status: "False", reason: None, message: None },
    }
}

fn initialized(inputs: &Inputs<'_>, phase: &str, init: &[ContainerStatus], app: &[ContainerStatus]) -> Verdict {
    if phase == phase::SUCCEEDED && !init.is_empty() {
        return Verdict { status: "True", reason: Some("PodCompleted"), message: None };
    }
    let begun = app.iter().any(|status| {
        status.started.unwrap_or(false)
            || status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    });
    if begun {
        return Verdict::yes();
    }
    let incomplete: Vec<&str> = init
        .iter()
        .filter(|status| match spec::find_container(inputs.pod, &status.name) {
            Some((_, Role::Sidecar)) => !status.started.unwrap_or(false),
            _ => !status.ready,
        })
        .map(|status| status.name.as_str())
        .collect();
    if incomplete.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with incomplete status: [{}]", incomplete.join(" "));
    Verdict::no("ContainersNotInitialized", Some(message))
}

fn containers_ready(inputs: &Inputs<'_>, phase: &str, init: &[ContainerStatus], app: &[ContainerStatus]) -> Verdict {
    match phase {
        phase::SUCCEEDED => return Verdict::no("PodCompleted", None),
        phase::FAILED => return Verdict::no("PodFailed", None),
        _ => {}
    }
    let sidecars = init
        .iter()
        .filter(|status| spec::find_container(inputs.pod, &status.name).is_some_and(|(_, role)| role == Role::Sidecar));
    let unready: Vec<&str> =
        sidecars.chain(app).filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if unready.is_empty() {
        return Verdict::yes();
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Verdict::no("ContainersNotReady", Some(message))
}

/// Containers ready, and every readiness gate open.
fn ready(inputs: &Inputs<'_>, containers: &Verdict) -> Verdict {
    if containers.status != "True" {
        return Verdict { status: containers.status, reason: containers.reason, message: containers.message.clone() };
    }
    let theirs = inputs.pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let mut shut = Vec::new();
    for gate in spec::spec(inputs.pod).readiness_gates.iter().flatten() {
        let kind = &gate.condition_type;
        match theirs.iter().find(|condition| condition.type_ == *kind) {
            None => shut.push(format!("corresponding condition of pod readiness gate \"{kind}\" does not exist.")),
            Some(condition) if condition.status != "True" => shut
                .push(format!("the status of pod readiness gate \"{kind}\" is not \"True\", but {}", condition.status)),
            Some(_) => {}
        }
    }
    if shut.is_empty() {
        return Verdict::yes();
    }
    Verdict::no("ReadinessGatesNotReady", Some(shut.join(", ")))
}
