//! What a pod's actor is told.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::memory::{Operation, Reason};
use crate::probes::Report;
use crate::runtime;

#[derive(Debug)]
pub enum Mail {
    /// The pod's newest version.
    Pod(Arc<Pod>),
    /// The API server no longer has the pod.
    Gone,
    /// Something happened to one of its containers or sandboxes.
    ContainerChanged(String),
    SandboxChanged(String),
    /// Events may have been lost: look at everything.
    Resync,
    /// An operation ended. The number tells it from an earlier one of the same kind that was given up.
    Finished(Operation, u64, Box<Result<Done, Failure>>),
    Probe(Report),
    /// A ConfigMap, Secret or Service that the pod reads has changed, or a token is due.
    SourcesChanged,
    /// The time that the planner named has come.
    Wake,
}

/// What an operation brought about.
#[derive(Debug)]
pub enum Done {
    Nothing,
    Sandbox(runtime::Sandbox),
    SandboxGone(Option<String>),
    Image(String),
    Container(runtime::Container),
    /// The container is gone from the runtime.
    NoContainer(String),
    Reported(Box<PodStatus>),
}

/// Why an operation came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub message: String,
    /// For a container's `waiting` state.
    pub reason: Option<Reason>,
    /// False where trying again cannot help before something changes.
    pub retry: bool,
    /// An instance that was made and could not be started.
    pub container: Option<Box<runtime::Container>>,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), reason: None, retry: true, container: None }
    }

    pub fn because(reason: &str, message: impl Into<String>) -> Failure {
        let message = message.into();
        Failure { reason: Some(Reason::new(reason, message.clone())), message, retry: true, container: None }
    }
}

impl From<runtime::Error> for Failure {
    fn from(error: runtime::Error) -> Failure {
        Failure::new(error.to_string())
    }
}
