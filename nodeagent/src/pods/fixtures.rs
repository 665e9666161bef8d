//! Pods and observations for table tests.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::memory::{ImageState, Memory};
use super::observation::{Container, ContainerState, Exit, Observation, Sandbox, spec_hash};

pub fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + second)
}

/// A pod `web` in `shop` with this spec.
pub fn pod(spec: Value) -> Pod {
    serde_json::from_value(
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "generation": 1}, "spec": spec}),
    )
    .expect("a pod")
}

/// A pod with one container `a` and this restart policy.
pub fn simple(policy: &str) -> Pod {
    pod(json!({"restartPolicy": policy, "containers": [{"name": "a", "image": "img"}]}))
}

/// The same pod, deleted with this grace.
pub fn deleted(mut pod: Pod, grace: i64) -> Pod {
    pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(grace)));
    pod.metadata.deletion_grace_period_seconds = Some(grace);
    pod
}

pub fn sandbox(attempt: u32, running: bool) -> Sandbox {
    Sandbox {
        id: format!("s{attempt}"),
        attempt,
        running,
        created_at: at(0),
        ips: vec!["10.244.0.5".parse().expect("an address")],
    }
}

pub fn container(name: &str, attempt: u32, state: ContainerState) -> Container {
    Container {
        id: format!("{name}{attempt}"),
        sandbox_id: "s0".to_owned(),
        name: name.to_owned(),
        attempt,
        image: "docker.io/library/img:latest".to_owned(),
        spec_hash: spec_hash(name, "img"),
        image_id: "sha256:1".to_owned(),
        state,
    }
}

pub fn running(name: &str, attempt: u32) -> Container {
    container(name, attempt, ContainerState::Running { started_at: at(1) })
}

pub fn exited(name: &str, attempt: u32, code: i32, finished: i64) -> Container {
    container(name, attempt, ContainerState::Exited(exit(code, finished)))
}

pub fn exit(code: i32, finished: i64) -> Exit {
    Exit {
        code,
        signal: 0,
        started_at: Some(at(1)),
        finished_at: at(finished),
        reason: if code == 0 { "Completed".to_owned() } else { "Error".to_owned() },
        message: String::new(),
    }
}

pub fn seen(sandboxes: &[Sandbox], containers: &[Container]) -> Observation {
    Observation { sandboxes: sandboxes.to_vec(), containers: containers.to_vec() }
}

/// Directories and volumes are there, and the images of these containers.
pub fn prepared(images: &[&str]) -> Memory {
    let mut memory = Memory { prepared: true, volumes_ready: true, ..Memory::default() };
    for name in images {
        memory.images.insert((*name).to_owned(), ImageState::Ready { image_id: "sha256:1".to_owned() });
    }
    memory
}

/// Marks an instance as probed.
pub fn probed(memory: &mut Memory, name: &str, id: &str, started: bool, ready: bool) {
    let container = memory.container_mut(name);
    container.probed_id = id.to_owned();
    container.hook_done_id = id.to_owned();
    container.started = started;
    container.ready = ready;
}
