//! What the agent remembers of a pod beside what the runtime shows.
//!
//! [`Durable`] goes to the pod's state file, so that back-offs, restart counts and probe results outlive the agent;
//! the rest is what the running agent is about just now and is found out again after a restart.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::backoff::{Backoff, Policy};
use super::observation::Exit;

/// All that is remembered of a pod.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub durable: Durable,
    /// Directories and the state file exist.
    pub prepared: bool,
    /// Every volume's content is in place.
    pub volumes_ready: bool,
    /// Images looked up or pulled for the next start of a container.
    pub images: BTreeMap<String, ImageState>,
    /// Why a container that should run could not be started, by name.
    pub start_failures: BTreeMap<String, Reason>,
    /// Containers to be stopped although the pod goes on (a failed probe, a failed hook, a changed image), by name.
    pub condemned: BTreeMap<String, Verdict>,
    /// Operations under way.
    pub running: BTreeSet<Operation>,
    /// Operations that failed and wait for their next attempt.
    pub retries: BTreeMap<Operation, Backoff>,
    /// Stop operations under way: by container name, when its processes are killed at the latest.
    pub stopping: BTreeMap<String, Timestamp>,
    /// When the pod was first seen to be ending.
    pub ending_since: Option<Timestamp>,
    /// The API server no longer has the pod.
    pub gone_from_api: bool,
    /// Sandbox, containers, volumes and directories are removed.
    pub cleaned: bool,
    /// The API object was deleted by us.
    pub deleted: bool,
}

/// The part that outlives the agent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Durable {
    /// When the agent first saw the pod.
    pub start_time: Option<Timestamp>,
    pub containers: BTreeMap<String, ContainerMemory>,
    /// The agent's own decision to end the pod.
    pub verdict: Option<PodVerdict>,
    /// The pod reached its end (all containers done, none to be restarted) and its sandbox was let go.
    pub sandbox_released: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerMemory {
    pub restart_count: u32,
    pub crash: Option<Backoff>,
    /// The end of the instance before the current one.
    pub last: Option<PreviousInstance>,
    /// Results of probes, which hold for the instance `probed_id` only.
    pub probed_id: String,
    /// The startup probe succeeded, or there is none.
    pub started: bool,
    pub ready: bool,
    /// The postStart hook of this instance is done (or there is none).
    pub hook_done_id: String,
}

/// An instance that ended, as `lastState` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreviousInstance {
    pub id: String,
    pub exit: Exit,
}

/// Why the agent itself ends a pod; becomes `status.reason` and `status.message`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PodVerdict {
    pub reason: String,
    pub message: String,
    /// Seconds; overrides the pod's own.
    pub grace: Option<i64>,
}

/// A CamelCase reason and its message, as a container's `waiting` state has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    pub reason: String,
    pub message: String,
}

impl Reason {
    pub fn new(reason: &str, message: impl Into<String>) -> Self {
        Reason { reason: reason.to_owned(), message: message.into() }
    }
}

/// An instance that has to be stopped, and what its Killing event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Holds for this instance only.
    pub container_id: String,
    pub message: String,
    /// Seconds; a probe's own grace period where it has one.
    pub grace: Option<i64>,
}

/// Where a container's image stands for its next start.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageState {
    Ready {
        image_id: String,
    },
    Failed {
        reason: Reason,
        backoff: Backoff,
        /// False where trying again cannot help without a change of the pod (`InvalidImageName`).
        retry: bool,
    },
}

/// What the executor does for a pod, one at a time for each value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Prepare,
    MountVolumes,
    CreateSandbox,
    StopSandbox,
    RemoveSandbox(String),
    EnsureImage(String),
    StartContainer(String),
    PostStart(String),
    StopContainer(String),
    RemoveContainer(String),
    ReportStatus,
    CleanUp,
    Delete,
}

impl Operation {
    /// The name of the operation in logs, metrics and spans.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Prepare => "prepare",
            Operation::MountVolumes => "mount_volumes",
            Operation::CreateSandbox => "create_sandbox",
            Operation::StopSandbox => "stop_sandbox",
            Operation::RemoveSandbox(_) => "remove_sandbox",
            Operation::EnsureImage(_) => "ensure_image",
            Operation::StartContainer(_) => "start_container",
            Operation::PostStart(_) => "post_start",
            Operation::StopContainer(_) => "stop_container",
            Operation::RemoveContainer(_) => "remove_container",
            Operation::ReportStatus => "report_status",
            Operation::CleanUp => "clean_up",
            Operation::Delete => "delete",
        }
    }
}

impl Memory {
    pub fn is_running(&self, operation: &Operation) -> bool {
        self.running.contains(operation)
    }

    /// The next attempt of an operation that failed at `now` waits longer than the last one did.
    pub fn retry_later(&mut self, operation: Operation, now: Timestamp, policy: Policy) {
        let backoff = Backoff::after_failure(self.retries.get(&operation).copied(), now, policy);
        self.retries.insert(operation, backoff);
    }

    pub fn container(&self, name: &str) -> Option<&ContainerMemory> {
        self.durable.containers.get(name)
    }

    pub fn container_mut(&mut self, name: &str) -> &mut ContainerMemory {
        self.durable.containers.entry(name.to_owned()).or_default()
    }

    /// The verdict on a container, if it is meant for this instance of it.
    pub fn condemned(&self, name: &str, container_id: &str) -> Option<&Verdict> {
        self.condemned.get(name).filter(|verdict| verdict.container_id == container_id)
    }

    /// The startup probe of this instance succeeded (or there is none).
    pub fn is_started(&self, name: &str, container_id: &str) -> bool {
        self.container(name).is_some_and(|memory| memory.probed_id == container_id && memory.started)
    }

    pub fn is_ready(&self, name: &str, container_id: &str) -> bool {
        self.container(name).is_some_and(|memory| memory.probed_id == container_id && memory.ready)
    }
}
