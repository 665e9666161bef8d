//! The runtime's one error type, cut by what a caller does about each case.

use std::io;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an image reference: `InvalidImageName`, never retried.
    #[error("couldn't parse image name {reference:?}: {reason}")]
    InvalidImageName { reference: String, reason: String },
    /// The registry says that there is no such image, or refuses us: `ErrImagePull`.
    #[error("failed to pull and unpack image {reference:?}: {reason}")]
    PullImage { reference: String, reason: String },
    /// The registry could not be reached or is broken: `RegistryUnavailable`.
    #[error("failed to pull and unpack image {reference:?}: {reason}")]
    RegistryUnavailable { reference: String, reason: String },
    #[error("image {0:?} is not present")]
    ImageNotPresent(String),
    /// `CreateContainerConfigError`.
    #[error("container has runAsNonRoot and image will run as root")]
    RunAsNonRoot,
    /// `CreateContainerConfigError`: the image names a user in words, so nobody can tell that it is not root.
    #[error("container has runAsNonRoot and image has non-numeric user ({0}), cannot verify user is non-root")]
    RunAsNonNumericUser(String),
    /// The container cannot be described to the OCI runtime: `CreateContainerError`.
    #[error("{0}")]
    InvalidSpec(String),
    /// A CNI plugin failed, or there is no network configuration: `FailedCreatePodSandBox`.
    #[error("failed to set up the pod network: {0}")]
    Network(#[from] crate::network::Error),
    /// No such container, sandbox or image.
    #[error("{kind} {id} not found")]
    NotFound { kind: &'static str, id: String },
    #[error("container {0} is not running")]
    NotRunning(String),
    /// A command run to completion took longer than its limit; it was killed.
    #[error("command timed out after {0:?}")]
    ExecTimeout(std::time::Duration),
    /// The OCI runtime refused: the text says what (`exec: "nope": executable file not found in $PATH`).
    #[error("{0}")]
    Oci(String),
    #[error("containerd: {action}: {status}")]
    Containerd { action: &'static str, status: Box<tonic::Status> },
    #[error("cannot reach containerd at {endpoint}: {reason}")]
    Unreachable { endpoint: String, reason: String },
    #[error("{action} {path}: {source}")]
    Io { action: &'static str, path: String, source: io::Error },
}

impl Error {
    pub fn is_not_found(&self) -> bool {
        match self {
            Error::NotFound { .. } => true,
            Error::Containerd { status, .. } => status.code() == tonic::Code::NotFound,
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl AsRef<std::path::Path>) -> impl FnOnce(io::Error) -> Error {
        let path = path.as_ref().display().to_string();
        move |source| Error::Io { action, path, source }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let part = inner.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = inner.source();
    }
    text
}
