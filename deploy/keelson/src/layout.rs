//! Where a cluster's files lie on this machine. With `--root DIR` all of it lies below DIR, so that several clusters
//! live side by side.

use std::path::{Path, PathBuf};

/// The directories of one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Configuration, keys and kubeconfigs.
    pub fn configuration(&self) -> PathBuf {
        self.root.join("etc/keelson")
    }

    pub fn cluster_file(&self) -> PathBuf {
        self.configuration().join("cluster.json")
    }

    pub fn pki(&self) -> PathBuf {
        self.configuration().join("pki")
    }

    /// A file of an identity's: its certificate (`crt`) or its key (`key`).
    pub fn pki_file(&self, name: &str, extension: &str) -> PathBuf {
        self.pki().join(format!("{name}.{extension}"))
    }

    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.configuration().join(format!("{name}.kubeconfig"))
    }

    /// State that outlives a restart of the machine.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/keelson")
    }

    pub fn store(&self, member: &str) -> PathBuf {
        self.state().join("store").join(member)
    }

    pub fn node_state(&self, node: &str) -> PathBuf {
        self.state().join("nodes").join(node)
    }

    pub fn traces(&self) -> PathBuf {
        self.state().join("traces")
    }

    pub fn logs(&self) -> PathBuf {
        self.root.join("var/log/keelson")
    }

    pub fn log(&self, process: &str) -> PathBuf {
        self.logs().join(format!("{process}.log"))
    }

    /// Container logs of a node, in the place that log collectors know below the root.
    pub fn pod_logs(&self, node: &str) -> PathBuf {
        self.root.join("var/log/pods").join(node)
    }

    /// Sockets, process records, network namespaces: gone after a restart of the machine.
    pub fn runtime(&self) -> PathBuf {
        self.root.join("run/keelson")
    }

    pub fn node_runtime(&self, node: &str) -> PathBuf {
        self.runtime().join(node)
    }

    pub fn containerd_socket(&self, node: &str) -> PathBuf {
        self.node_runtime(node).join("containerd.sock")
    }

    /// Where processes of this machine reach a member of the store.
    pub fn store_socket(&self, member: &str) -> PathBuf {
        self.runtime().join(format!("{member}.sock"))
    }

    pub fn process_record(&self, process: &str) -> PathBuf {
        self.runtime().join("processes").join(format!("{process}.json"))
    }

    pub fn supervisor_lock(&self) -> PathBuf {
        self.runtime().join("supervisor.lock")
    }
}
