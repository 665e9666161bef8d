//! A pod's status as the API shows it: a pure function of the same three inputs that the planner has.

mod conditions;
mod containers;
mod phase;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, HostIP, Pod, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::memory::{Memory, Reason};
use super::observation::Observation;
use super::spec::Role;
use super::{plan, qos, spec};

/// What the status is computed from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    pub pod: &'a Pod,
    pub seen: &'a Observation,
    pub memory: &'a Memory,
    /// See [`plan::Plan::held_back`].
    pub held_back: &'a BTreeMap<String, Reason>,
    /// The last status that was computed, or the API's: conditions keep their transition times from here.
    pub previous: &'a PodStatus,
    pub host_ips: &'a [IpAddr],
    pub now: Timestamp,
}

/// Computes the whole status.
pub fn compute(inputs: Inputs<'_>) -> PodStatus {
    let mut init = containers::init_statuses(&inputs);
    let mut app = containers::app_statuses(&inputs);
    let ended = is_over(&inputs);
    if ended {
        close_all(inputs.pod, &mut init, &mut app);
    }
    let mut phase = phase::phase(inputs.pod, &init, &app, ended);
    let mut reason = None;
    let mut message = None;
    if let Some(verdict) = &inputs.memory.durable.verdict
        && inputs.seen.is_quiet()
    {
        phase = phase::FAILED;
        reason = Some(verdict.reason.clone());
        message = Some(verdict.message.clone());
    }
    // What has ended stays ended, whatever is found out later.
    if let Some(settled) = phase::settled(inputs.previous) {
        phase = settled;
        reason = reason.or_else(|| inputs.previous.reason.clone());
        message = message.or_else(|| inputs.previous.message.clone());
    }
    let conditions = conditions::conditions(&inputs, phase, &init, &app);
    let (pod_ip, pod_ips) = pod_ips(&inputs);
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions),
        message,
        reason,
        host_ip: inputs.host_ips.first().map(IpAddr::to_string),
        host_ips: (!inputs.host_ips.is_empty())
            .then(|| inputs.host_ips.iter().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        pod_ip,
        pod_ips,
        start_time: inputs.memory.durable.start_time.map(Time),
        init_container_statuses: (!init.is_empty()).then_some(init),
        container_statuses: Some(app),
        qos_class: Some(qos::class(inputs.pod).as_str().to_owned()),
        observed_generation: inputs.pod.metadata.generation,
        ..PodStatus::default()
    }
}

/// Nothing of the pod runs, and nothing will.
fn is_over(inputs: &Inputs<'_>) -> bool {
    inputs.memory.cleaned
        || (plan::is_ending(inputs.pod, inputs.memory)
            && inputs.memory.durable.sandbox_released
            && inputs.seen.is_quiet())
}

/// Containers of a pod that is over, as upstream closes them: those whose turn had not come stay as they are.
fn close_all(pod: &Pod, init: &mut [ContainerStatus], app: &mut [ContainerStatus]) {
    if is_initialized(pod, init, app) {
        app.iter_mut().for_each(close);
    }
    let last = init.iter().rposition(has_begun).unwrap_or(0);
    init.iter_mut().take(last + 1).for_each(close);
}

/// It was started at least once.
fn has_begun(status: &ContainerStatus) -> bool {
    let is_waiting = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    !is_waiting || status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
}

fn is_initialized(pod: &Pod, init: &[ContainerStatus], app: &[ContainerStatus]) -> bool {
    let Some((container, status)) = spec::init_containers(pod).last().zip(init.last()) else { return true };
    let is_done = match spec::role_of_init(container) {
        Role::Sidecar => status.started == Some(true),
        _ => {
            let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
            ended.is_some_and(|ended| ended.exit_code == 0)
        }
    };
    is_done || app.iter().any(has_begun)
}

/// One that was never seen to end is reported as lost.
fn close(status: &mut ContainerStatus) {
    let terminated = status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    if terminated {
        return;
    }
    status.ready = false;
    status.started = Some(false);
    status.state = Some(ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".to_owned()),
            message: Some("The container could not be located when the pod was terminated".to_owned()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    });
}

/// The addresses of the sandbox; of a pod whose sandbox is gone, those it had.
fn pod_ips(inputs: &Inputs<'_>) -> (Option<String>, Option<Vec<PodIP>>) {
    let sandbox = inputs.seen.running_sandbox();
    let ips: Vec<IpAddr> = match sandbox {
        Some(_) if spec::is_host_network(inputs.pod) => inputs.host_ips.to_vec(),
        Some(sandbox) => sandbox.ips.clone(),
        None => return (inputs.previous.pod_ip.clone(), inputs.previous.pod_ips.clone()),
    };
    let listed: Vec<PodIP> = ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect();
    (ips.first().map(IpAddr::to_string), (!listed.is_empty()).then_some(listed))
}
