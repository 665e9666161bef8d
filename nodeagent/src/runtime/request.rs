//! What a caller asks of the runtime: plain data, resolved from the pod by the caller.
//!
//! Nothing in here knows the Kubernetes API types: env values, mounts and resources arrive as the values they have
//! on this node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Credentials for one registry, as found in a pull secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RegistryAuth {
    #[default]
    Anonymous,
    Basic {
        username: String,
        password: String,
    },
    /// A registry token, sent as it is.
    Bearer {
        token: String,
    },
}

/// Who a pod is; also written into the labels of its containers, so that a restarted agent finds them again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodIdentity {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// A hostPort; handed to CNI plugins that have the `portMappings` capability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortMapping {
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
    pub host_ip: Option<IpAddr>,
}

/// The lines of the pod's resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DnsConfig {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

/// cgroup settings; `None` leaves the kernel's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// cgroup v1 cpu.shares (2..=262144); turned into a weight on cgroup v2.
    pub cpu_shares: Option<u64>,
    /// Microseconds of CPU in each period.
    pub cpu_quota: Option<i64>,
    /// Microseconds; 100000 where `cpu_quota` is set and this is not.
    pub cpu_period: Option<u64>,
    /// Bytes.
    pub memory_limit: Option<i64>,
    pub cpuset_cpus: Option<String>,
    pub cpuset_mems: Option<String>,
    pub pids_limit: Option<i64>,
}

/// A pod's sandbox: its cgroup, its namespaces, its network and the pause container that holds them.
#[derive(Clone, Debug, Default)]
pub struct SandboxSpec {
    pub pod: PodIdentity,
    /// Counts the sandboxes that this pod has had, from 0.
    pub attempt: u32,
    /// The pod's cgroup as an absolute path below each controller's mount,
    /// e.g. `/keelson/node1/kubepods/burstable/pod<uid>`. Made (with its parents) by the runtime, which removes it with the sandbox.
    pub cgroup_parent: String,
    /// Limits of the pod as a whole, set on `cgroup_parent`.
    pub resources: Resources,
    pub hostname: String,
    /// Written as they are to the pod's resolv.conf; empty: the node's resolv.conf is taken (dnsPolicy Default).
    pub dns: DnsConfig,
    /// `domain` of /etc/hosts entries: `<ip> <hostname>.<subdomain>.<ns>.svc.<cluster domain> <hostname>`.
    pub fqdn: Option<String>,
    /// hostAliases, as (ip, names).
    pub host_aliases: Vec<(String, Vec<String>)>,
    /// Where the runtime keeps `etc-hosts`, `hostname` and `resolv.conf` of the pod; the caller's pod directory.
    pub directory: PathBuf,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    /// shareProcessNamespace.
    pub share_process_namespace: bool,
    pub sysctls: BTreeMap<String, String>,
    pub port_mappings: Vec<PortMapping>,
    /// Labels and annotations of the caller, kept with the sandbox and given back by [`super::Runtime::sandboxes`].
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountPropagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// A host path inside the container. The source must exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    pub source: PathBuf,
    pub destination: PathBuf,
    pub read_only: bool,
    pub propagation: MountPropagation,
}

/// A host device inside the container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub source: PathBuf,
    pub destination: PathBuf,
    /// Of `r`, `w`, `m`.
    pub permissions: String,
}

/// SecurityContext of pod and container, merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    pub privileged: bool,
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    /// Refuse (with [`super::Error::RunAsNonRoot`]) to make a container that would run as root.
    pub run_as_non_root: bool,
    pub supplemental_groups: Vec<i64>,
    pub read_only_root_filesystem: bool,
    /// Default (`None`) is true, as the API has it.
    pub allow_privilege_escalation: Option<bool>,
    /// Without the `CAP_` prefix; `ALL` is understood.
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    /// procMount: Unmasked.
    pub unmasked_proc: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TerminationMessagePolicy {
    #[default]
    File,
    FallbackToLogsOnError,
}

#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    pub name: String,
    /// restartCount of this instance; with the name it names the log file.
    pub attempt: u32,
    /// A reference that is present (see [`super::Runtime::image`]).
    pub image: String,
    /// The container's `command`: replaces the image's entrypoint *and* cmd.
    pub command: Vec<String>,
    /// The container's `args`: replaces the image's cmd.
    pub args: Vec<String>,
    pub working_dir: Option<String>,
    /// Over the image's own environment, in order.
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    pub security: Security,
    pub resources: Resources,
    /// Clamped to what the agent itself may set.
    pub oom_score_adj: i64,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    /// Path in the container; `/dev/termination-log` by default. `None`: no message file.
    pub termination_message_path: Option<String>,
    pub termination_message_policy: TerminationMessagePolicy,
    /// Overrides the image's STOPSIGNAL, e.g. `SIGTERM`.
    pub stop_signal: Option<String>,
    /// Hash of the container's API spec; given back in [`super::Container::spec_hash`].
    pub spec_hash: String,
    /// Kept with the container and given back.
    pub annotations: BTreeMap<String, String>,
}

/// Selects containers; empty selects all.
#[derive(Clone, Debug, Default)]
pub struct ContainerFilter {
    pub pod_uid: Option<String>,
    pub sandbox_id: Option<String>,
}

/// A command to run in a running container with streams.
#[derive(Clone, Debug, Default)]
pub struct ExecSpec {
    pub container_id: String,
    pub command: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// How long [`super::Runtime::stop_container`] waits after the stop signal before it kills.
pub type Grace = Duration;
