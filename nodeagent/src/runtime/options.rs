//! How the runtime is set up on a node.

use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Options {
    /// containerd's gRPC socket.
    pub endpoint: PathBuf,
    /// containerd's namespace.
    pub namespace: String,
    /// containerd's snapshotter, e.g. `overlayfs` or `native`.
    pub snapshotter: String,
    /// The OCI runtime's state directory; `None` leaves containerd's default.
    pub runc_root: Option<PathBuf>,
    /// Kept over a reboot, on a file system that programs may run from: the logger. E.g. `/var/lib/keelson/node1`.
    pub data_dir: PathBuf,
    /// Lost on reboot: network namespaces, shared memory, exec pipes. E.g. `/run/keelson/node1`.
    pub state_dir: PathBuf,
    /// `/var/log/pods`, or its like.
    pub log_dir: PathBuf,
    /// A log file is rotated at this size …
    pub log_max_bytes: u64,
    /// … and this many are kept, the current one included.
    pub log_max_files: u32,
    pub cni_conf_dir: PathBuf,
    /// Searched in order.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// Results of CNI ADD, kept for DEL and CHECK.
    pub cni_cache_dir: PathBuf,
    pub registries: Registries,
    pub max_parallel_pulls: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            endpoint: "/run/containerd/containerd.sock".into(),
            namespace: "k8s.io".into(),
            snapshotter: "overlayfs".into(),
            runc_root: None,
            data_dir: "/var/lib/keelson".into(),
            state_dir: "/run/keelson".into(),
            log_dir: "/var/log/pods".into(),
            log_max_bytes: 10 << 20,
            log_max_files: 5,
            cni_conf_dir: "/etc/cni/net.d".into(),
            cni_bin_dirs: vec!["/opt/cni/bin".into(), "/usr/lib/cni".into()],
            cni_cache_dir: "/var/lib/cni/results".into(),
            registries: Registries::default(),
            max_parallel_pulls: 4,
        }
    }
}

/// Where images come from.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// Registry host (`docker.io`) to mirrors (`host[:port]`), asked in order before the registry itself.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Hosts spoken to in plain http. Loopback always is.
    pub insecure: Vec<String>,
}
