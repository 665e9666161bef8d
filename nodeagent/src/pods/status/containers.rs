//! `status.containerStatuses` and `status.initContainerStatuses`.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::memory::{ImageState, Reason};
use super::super::observation::{self, ContainerState as Seen, Exit};
use super::super::spec::{self, Role};
use super::Inputs;
use crate::images::reference;

pub fn init_statuses(inputs: &Inputs<'_>) -> Vec<ContainerStatus> {
    let containers = spec::init_containers(inputs.pod);
    containers.iter().map(|container| status(inputs, container, spec::role_of_init(container))).collect()
}

pub fn app_statuses(inputs: &Inputs<'_>) -> Vec<ContainerStatus> {
    spec::app_containers(inputs.pod).iter().map(|container| status(inputs, container, Role::App)).collect()
}

fn status(inputs: &Inputs<'_>, container: &Container, role: Role) -> ContainerStatus {
    let name = container.name.as_str();
    let instance = inputs.seen.latest(name);
    let remembered = inputs.memory.container(name);
    let mut last = remembered
        .and_then(|memory| memory.last.as_ref())
        .map(|last| ContainerState { terminated: Some(terminated(&last.id, &last.exit)), ..ContainerState::default() });
    let state = match instance.map(|instance| (instance, &instance.state)) {
        Some((_, Seen::Running { started_at })) => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*started_at)) }),
            ..ContainerState::default()
        },
        Some((instance, Seen::Exited(exit))) => {
            let ended =
                ContainerState { terminated: Some(terminated(&instance.id, exit)), ..ContainerState::default() };
            let restarts = spec::should_restart(inputs.pod, container, role, exit);
            match hindrance(inputs, name).filter(|_| restarts && !super::is_over(inputs)) {
                Some(reason) => {
                    last = Some(ended);
                    waiting(reason)
                }
                None => ended,
            }
        }
        Some((_, Seen::Created)) | None => {
            waiting(hindrance(inputs, name).cloned().as_ref().unwrap_or(&not_yet(inputs)))
        }
    };
    let running = state.running.is_some();
    let id = instance.map(|instance| instance.id.as_str()).unwrap_or_default();
    let started = running && inputs.memory.is_started(name, id);
    let ready = match role {
        Role::Init => instance.and_then(observation::Container::exit).is_some_and(|exit| exit.code == 0),
        Role::Sidecar | Role::App => running && inputs.memory.is_ready(name, id),
    };
    let restart_count = instance.map_or(0, |instance| instance.attempt).max(remembered.map_or(0, |m| m.restart_count));
    let asked = container.image.clone().unwrap_or_default();
    ContainerStatus {
        name: name.to_owned(),
        image: instance.map_or(asked, |instance| reference::familiar(&instance.image)),
        image_id: instance.map(|instance| instance.image_id.clone()).unwrap_or_default(),
        container_id: instance.map(|instance| format!("containerd://{}", instance.id)),
        ready,
        started: Some(started),
        restart_count: i32::try_from(restart_count).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(last.unwrap_or_default()),
        resources: container.resources.clone().filter(|_| instance.is_some()),
        allocated_resources: container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.clone())
            .filter(|_| instance.is_some()),
        volume_mounts: volume_mounts(container).filter(|_| instance.is_some()),
        ..ContainerStatus::default()
    }
}

/// What keeps a container from being started, if anything is known to.
fn hindrance<'a>(inputs: &Inputs<'a>, name: &str) -> Option<&'a Reason> {
    if let Some(reason) = inputs.held_back.get(name) {
        return Some(reason);
    }
    if let Some(ImageState::Failed { reason, .. }) = inputs.memory.images.get(name) {
        return Some(reason);
    }
    inputs.memory.start_failures.get(name)
}

/// The state of a container whose turn has not come.
fn not_yet(inputs: &Inputs<'_>) -> Reason {
    let initializing = !spec::init_containers(inputs.pod).is_empty();
    Reason::new(if initializing { "PodInitializing" } else { "ContainerCreating" }, "")
}

fn waiting(reason: &Reason) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.reason.clone()),
            message: (!reason.message.is_empty()).then(|| reason.message.clone()),
        }),
        ..ContainerState::default()
    }
}

fn terminated(id: &str, exit: &Exit) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: Some(format!("containerd://{id}")),
        exit_code: exit.code,
        signal: (exit.signal != 0).then_some(exit.signal),
        reason: Some(exit.reason.clone()),
        message: (!exit.message.is_empty()).then(|| exit.message.clone()),
        started_at: exit.started_at.map(Time),
        finished_at: Some(Time(exit.finished_at)),
    }
}

fn volume_mounts(container: &Container) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref().filter(|mounts| !mounts.is_empty())?;
    let statuses = mounts.iter().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: mount.read_only.filter(|read_only| *read_only).map(|_| "Disabled".to_owned()),
        ..VolumeMountStatus::default()
    });
    Some(statuses.collect())
}
