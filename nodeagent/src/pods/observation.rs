//! What the container runtime holds of one pod: its sandboxes and every instance of its containers.
//!
//! This is the runtime's word, rebuilt from containerd's labels after a restart of the agent. What the agent itself
//! remembers (back-offs, probe results, the previous exit) is in [`super::memory`].

use std::net::IpAddr;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::runtime;

/// All sandboxes and containers of a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Container>,
}

/// A pod sandbox: the pause container and the namespaces that it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    pub id: String,
    /// 0 for a pod's first sandbox, one more for each that replaces it.
    pub attempt: u32,
    /// The pause container runs.
    pub running: bool,
    pub created_at: Timestamp,
    /// Empty for pods in the host's network.
    pub ips: Vec<IpAddr>,
}

/// One instance of a container of the pod's spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub id: String,
    pub sandbox_id: String,
    /// The name in the pod's spec.
    pub name: String,
    /// 0 for the first instance, one more for each restart.
    pub attempt: u32,
    /// The image as the pod's spec wrote it when the instance was made.
    pub image: String,
    /// See [`spec_hash`].
    pub spec_hash: String,
    /// The image's digest reference.
    pub image_id: String,
    pub state: ContainerState,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ContainerState {
    /// Made and never started.
    Created,
    Running {
        started_at: Timestamp,
    },
    Exited(Exit),
}

/// How an instance ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exit {
    pub code: i32,
    pub signal: i32,
    /// `None`: it never ran (its start failed).
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    /// `Completed`, `Error`, `OOMKilled`, `StartError` or `ContainerStatusUnknown`.
    pub reason: String,
    /// The termination message, or why it could not be started.
    pub message: String,
}

impl Observation {
    /// The newest sandbox, running or not.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.iter().max_by_key(|sandbox| sandbox.attempt)
    }

    /// The newest sandbox if it runs.
    pub fn running_sandbox(&self) -> Option<&Sandbox> {
        self.sandbox().filter(|sandbox| sandbox.running)
    }

    /// The newest instance of a container, whichever sandbox it was made in.
    pub fn latest(&self, name: &str) -> Option<&Container> {
        self.instances(name).max_by_key(|container| container.attempt)
    }

    /// The newest instance of a container in the newest sandbox.
    pub fn current(&self, name: &str) -> Option<&Container> {
        let sandbox = self.sandbox()?;
        self.instances(name)
            .filter(|container| container.sandbox_id == sandbox.id)
            .max_by_key(|container| container.attempt)
    }

    /// Every instance of a container.
    pub fn instances<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Container> + use<'a, 'n> {
        self.containers.iter().filter(move |container| container.name == name)
    }

    pub fn by_id(&self, id: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.id == id)
    }

    /// Puts an instance in, in place of what was known under its id.
    pub fn put_container(&mut self, container: Container) {
        match self.containers.iter_mut().find(|known| known.id == container.id) {
            Some(known) => *known = container,
            None => self.containers.push(container),
        }
    }

    pub fn remove_container(&mut self, id: &str) {
        self.containers.retain(|container| container.id != id);
    }

    /// Puts a sandbox in, in place of what was known under its id.
    pub fn put_sandbox(&mut self, sandbox: Sandbox) {
        match self.sandboxes.iter_mut().find(|known| known.id == sandbox.id) {
            Some(known) => *known = sandbox,
            None => self.sandboxes.push(sandbox),
        }
    }

    pub fn remove_sandbox(&mut self, id: &str) {
        self.sandboxes.retain(|sandbox| sandbox.id != id);
    }

    /// True when no process of the pod's containers runs.
    pub fn is_quiet(&self) -> bool {
        !self.containers.iter().any(Container::is_running)
    }
}

impl Container {
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            ContainerState::Exited(exit) => Some(exit),
            _ => None,
        }
    }

    pub fn started_at(&self) -> Option<Timestamp> {
        match &self.state {
            ContainerState::Running { started_at } => Some(*started_at),
            ContainerState::Exited(exit) => exit.started_at,
            ContainerState::Created => None,
        }
    }
}

/// What of a container's spec asks for a new instance when it changes: of a running pod only the image may change.
pub fn spec_hash(name: &str, image: &str) -> String {
    let digest = Sha256::digest(format!("{name}\n{image}").as_bytes());
    hex::encode(&digest[..8])
}

impl From<&runtime::Sandbox> for Sandbox {
    fn from(sandbox: &runtime::Sandbox) -> Self {
        Sandbox {
            id: sandbox.id.clone(),
            attempt: sandbox.attempt,
            running: sandbox.ready,
            created_at: timestamp(sandbox.created_at),
            ips: sandbox.ips.clone(),
        }
    }
}

impl From<&runtime::Container> for Container {
    fn from(container: &runtime::Container) -> Self {
        let state = match &container.state {
            runtime::ContainerState::Created => ContainerState::Created,
            runtime::ContainerState::Running { started_at } => {
                ContainerState::Running { started_at: timestamp(*started_at) }
            }
            runtime::ContainerState::Exited(exit) => ContainerState::Exited(Exit {
                code: exit.exit_code,
                signal: exit.signal,
                started_at: exit.started_at.map(timestamp),
                finished_at: timestamp(exit.finished_at),
                reason: exit.reason.clone(),
                message: exit.message.clone(),
            }),
        };
        Container {
            id: container.id.clone(),
            sandbox_id: container.sandbox_id.clone(),
            name: container.name.clone(),
            attempt: container.attempt,
            image: container.image.clone(),
            spec_hash: container.spec_hash.clone(),
            image_id: container.image_id.clone(),
            state,
        }
    }
}

fn timestamp(instant: SystemTime) -> Timestamp {
    Timestamp::try_from(instant).unwrap_or(Timestamp::UNIX_EPOCH)
}
