//! `status.phase`.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use super::super::spec::{self, Role};

pub const PENDING: &str = "Pending";
pub const RUNNING: &str = "Running";
pub const SUCCEEDED: &str = "Succeeded";
pub const FAILED: &str = "Failed";

/// The phase that a pod has ended in, if it has ended.
pub fn settled(status: &PodStatus) -> Option<&'static str> {
    match status.phase.as_deref() {
        Some(SUCCEEDED) => Some(SUCCEEDED),
        Some(FAILED) => Some(FAILED),
        _ => None,
    }
}

/// The phase of a pod with these container statuses. `ended`: nothing of it will be started again.
pub fn phase(pod: &Pod, init: &[ContainerStatus], app: &[ContainerStatus], ended: bool) -> &'static str {
    let policy = spec::restart_policy(pod);
    let init = summarize_init(pod, init);
    if init.failed && (policy == "Never" || ended) {
        return FAILED;
    }
    let mut waiting = 0;
    let mut running = 0;
    let mut stopped = 0;
    let mut succeeded = 0;
    let mut will_restart = false;
    for status in app {
        let state = status.state.clone().unwrap_or_default();
        let ended_before = status.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
        if state.running.is_some() {
            running += 1;
        } else if let Some(terminated) = &state.terminated {
            stopped += 1;
            succeeded += usize::from(terminated.exit_code == 0);
            will_restart |= restarts(pod, status, terminated.exit_code);
        } else if ended_before {
            // Waits to be started again.
            stopped += 1;
            will_restart = true;
        } else {
            waiting += 1;
        }
    }
    if ended {
        return if stopped > 0 && stopped == succeeded && waiting == 0 { SUCCEEDED } else { FAILED };
    }
    if init.pending || waiting > 0 {
        return PENDING;
    }
    if running > 0 || will_restart {
        return RUNNING;
    }
    if stopped == 0 {
        return PENDING;
    }
    // All have ended for good; sidecars have yet to be stopped before the pod counts as ended.
    if init.sidecar_running {
        return RUNNING;
    }
    if stopped == succeeded { SUCCEEDED } else { FAILED }
}

fn restarts(pod: &Pod, status: &ContainerStatus, exit_code: i32) -> bool {
    let Some((container, role)) = spec::find_container(pod, &status.name) else { return false };
    let exit = super::super::observation::Exit {
        code: exit_code,
        signal: 0,
        started_at: None,
        finished_at: jiff::Timestamp::UNIX_EPOCH,
        reason: String::new(),
        message: String::new(),
    };
    spec::should_restart(pod, container, role, &exit)
}

#[derive(Default)]
struct InitSummary {
    pending: bool,
    failed: bool,
    sidecar_running: bool,
}

fn summarize_init(pod: &Pod, statuses: &[ContainerStatus]) -> InitSummary {
    let mut summary = InitSummary::default();
    for container in spec::init_containers(pod) {
        let Some(status) = statuses.iter().find(|status| status.name == container.name) else {
            summary.pending = true;
            continue;
        };
        let state = status.state.clone().unwrap_or_default();
        let last_code = status.last_state.as_ref().and_then(|last| last.terminated.as_ref()).map(|last| last.exit_code);
        match spec::role_of_init(container) {
            Role::Sidecar => {
                let started = status.started.unwrap_or(false);
                summary.sidecar_running |= state.running.is_some();
                summary.pending |= match (&state.running, &state.terminated) {
                    (Some(_), _) => !started,
                    (None, Some(_)) => false,
                    (None, None) => last_code.is_none(),
                };
            }
            _ => match &state.terminated {
                Some(terminated) if terminated.exit_code == 0 => {}
                Some(_) => {
                    summary.failed = true;
                    summary.pending = true;
                }
                None => {
                    summary.failed |= state.waiting.is_some() && last_code.is_some_and(|code| code != 0);
                    summary.pending = true;
                }
            },
        }
    }
    summary
}
