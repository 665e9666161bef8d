//! What there is: images, sandboxes and containers as the runtime reports them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::request::PodIdentity;

/// A present image, unpacked and ready to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The full reference that it was asked by, e.g. `docker.io/library/nginx:alpine`.
    pub reference: String,
    /// What `containerStatuses[].imageID` shows: `docker.io/library/nginx@sha256:…`, or `sha256:…` of the config
    /// for an image that was imported and came from no registry.
    pub image_id: String,
    /// Digest of the manifest (or index) that the reference names.
    pub digest: String,
    /// Digest of the image config.
    pub config_digest: String,
    /// All names of this image on the node (tags and digests), for `node.status.images`.
    pub names: Vec<String>,
    /// Bytes in the content store (compressed).
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    pub id: String,
    pub pod: PodIdentity,
    pub attempt: u32,
    /// The pause container runs.
    pub ready: bool,
    pub created_at: SystemTime,
    /// First the one of the cluster's first family; empty for hostNetwork.
    pub ips: Vec<IpAddr>,
    /// Where the network namespace is bound; `None` for hostNetwork.
    pub netns: Option<PathBuf>,
    /// Of the pause container; 0 when not running.
    pub pid: u32,
    pub cgroup_parent: String,
    pub annotations: BTreeMap<String, String>,
    pub(crate) directory: PathBuf,
    pub(crate) host_network: bool,
    pub(crate) host_pid: bool,
    pub(crate) host_ipc: bool,
    pub(crate) share_process_namespace: bool,
    pub(crate) hostname: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    Created,
    Running { started_at: SystemTime },
    Exited(Exit),
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// `None`: it never ran (its start failed).
    pub started_at: Option<SystemTime>,
    pub finished_at: SystemTime,
    pub exit_code: i32,
    pub signal: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`, or `ContainerStatusUnknown` where its end was not seen.
    pub reason: String,
    /// Termination message (at most 4096 bytes), or the start error.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub sandbox_id: String,
    pub pod: PodIdentity,
    pub name: String,
    pub attempt: u32,
    /// The reference as asked.
    pub image: String,
    /// See [`Image::image_id`].
    pub image_id: String,
    pub spec_hash: String,
    pub created_at: SystemTime,
    pub state: ContainerState,
    /// Of the container's first process; 0 when not running.
    pub pid: u32,
    pub tty: bool,
    pub stdin: bool,
    /// The current log file, in the CRI log format. Rotated ones are `<path>.1` (newest) and up.
    pub log_path: PathBuf,
    pub annotations: BTreeMap<String, String>,
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
}

/// Something happened that the caller did not do itself. The state is to be read again (`container`, `sandbox`);
/// it is already up to date when the event arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    ContainerStarted {
        pod_uid: String,
        container_id: String,
    },
    ContainerExited {
        pod_uid: String,
        container_id: String,
    },
    SandboxExited {
        pod_uid: String,
        sandbox_id: String,
    },
    /// Events may have been lost (containerd restarted, or this receiver was slow): look at everything again.
    Resync,
}

/// The streams of a running exec or attach.
pub struct Session {
    /// Closed by dropping it: the command reads end of file. `None` unless asked for.
    pub stdin: Option<Box<dyn tokio::io::AsyncWrite + Send + Unpin>>,
    /// Chunks in order; closes when both outputs are at their end.
    pub output: mpsc::Receiver<Output>,
    /// The session is over when the caller's input is: an attach to a container whose stdin stays open.
    pub ends_with_input: bool,
    pub(crate) control: super::exec::Control,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout(bytes::Bytes),
    Stderr(bytes::Bytes),
}

/// What a command run to completion said. Each stream keeps at most 16 KiB (its end is cut).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecResult {
    pub exit_code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// `containerd`
    pub name: String,
    pub version: String,
}

impl Version {
    /// As `node.status.nodeInfo.containerRuntimeVersion` has it.
    pub fn node_info(&self) -> String {
        format!("{}://{}", self.name, self.version)
    }
}

/// Usage of a cgroup (a container's or a pod's).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_nanoseconds: u64,
    pub memory_bytes: u64,
    /// Without the inactive page cache.
    pub memory_working_set_bytes: u64,
    pub pids: u64,
}
