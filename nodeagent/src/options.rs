//! The agent's options, by the kubelet's names.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use keelson_process::TelemetryOptions;

/// Runs the pods that are bound to this node.
#[derive(Clone, Debug, Parser)]
#[command(name = "nodeagent", version)]
#[group(skip)]
pub struct Options {
    /// A YAML file: a KubeletConfiguration, or flag names and their values. The command line wins.
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// The kubeconfig by which the agent reaches the API server's gRPC door.
    #[arg(long)]
    pub kubeconfig: PathBuf,
    /// The node's name; the host's name if it is not given.
    #[arg(long)]
    pub hostname_override: Option<String>,
    /// The node's address; found out from the routes if it is not given.
    #[arg(long)]
    pub node_ip: Option<IpAddr>,
    /// Where the pods' volumes and the agent's own state lie.
    #[arg(long, default_value = "/var/lib/keelson/kubelet")]
    pub root_dir: PathBuf,
    /// Lost at a reboot: network namespaces, pipes.
    #[arg(long, default_value = "/run/keelson/node")]
    pub runtime_dir: PathBuf,
    /// Where the containers' logs lie.
    #[arg(long, default_value = "/var/log/pods")]
    pub pod_logs_dir: PathBuf,
    /// containerd's socket.
    #[arg(long, default_value = "unix:///run/containerd/containerd.sock")]
    pub container_runtime_endpoint: String,
    /// containerd's snapshotter.
    #[arg(long, default_value = "overlayfs")]
    pub snapshotter: String,
    /// The OCI runtime's state directory; containerd's default if it is not given.
    #[arg(long)]
    pub runtime_root: Option<PathBuf>,
    /// The certificate of the streaming door.
    #[arg(long, visible_alias = "cert")]
    pub tls_cert_file: PathBuf,
    /// The key of that certificate.
    #[arg(long, visible_alias = "key")]
    pub tls_private_key_file: PathBuf,
    /// The CA that has to have signed the certificates of those who call.
    #[arg(long)]
    pub client_ca_file: PathBuf,
    /// Where the streaming door (logs, exec, attach, port-forward) listens.
    #[arg(long, default_value = "0.0.0.0")]
    pub address: IpAddr,
    /// The streaming door's port.
    #[arg(long, default_value_t = 10250)]
    pub port: u16,
    /// Where health and metrics are served.
    #[arg(long, default_value = "127.0.0.1")]
    pub healthz_bind_address: IpAddr,
    /// /healthz, /livez, /readyz and /metrics; 0 for none.
    #[arg(long, default_value_t = 10248)]
    pub healthz_port: u16,
    /// Addresses of the cluster's DNS.
    #[arg(long, value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,
    /// The domain of the cluster's names.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// What pods with dnsPolicy Default get.
    #[arg(long, default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// The cgroup below which all pods live; /keelson/<node> if it is not given.
    #[arg(long)]
    pub cgroup_root: Option<String>,
    /// Pods on this node at most.
    #[arg(long, default_value_t = 110)]
    pub max_pods: u32,
    /// Labels that the node registers with, key=value.
    #[arg(long, value_delimiter = ',')]
    pub node_labels: Vec<String>,
    /// Taints that the node registers with, key=value:effect.
    #[arg(long, value_delimiter = ',')]
    pub register_with_taints: Vec<String>,
    /// Kept back for the system, e.g. cpu=100m,memory=200Mi.
    #[arg(long, value_delimiter = ',')]
    pub system_reserved: Vec<String>,
    /// Kept back for the cluster's own processes.
    #[arg(long, value_delimiter = ',')]
    pub kube_reserved: Vec<String>,
    /// The node reports pressure past these.
    #[arg(long, value_delimiter = ',', default_value = "memory.available<100Mi,nodefs.available<10%")]
    pub eviction_hard: Vec<String>,
    /// Where the CNI configuration lies.
    #[arg(long, default_value = "/etc/cni/net.d")]
    pub cni_conf_dir: PathBuf,
    /// Where the CNI plugins lie.
    #[arg(long, value_delimiter = ',', default_value = "/opt/cni/bin,/usr/lib/cni")]
    pub cni_bin_dir: Vec<PathBuf>,
    /// Where the results of CNI plugins are kept until they are undone.
    #[arg(long, default_value = "/var/lib/cni/results")]
    pub cni_state_dir: PathBuf,
    /// The bridge of the CNI configuration that is written when there is none.
    #[arg(long, default_value = "cnio0")]
    pub cni_bridge: String,
    /// Images pulled at once.
    #[arg(long, default_value_t = 4)]
    pub max_parallel_image_pulls: usize,
    /// Mirrors of registries, host=mirror[;mirror], e.g. docker.io=127.0.0.1:5000.
    #[arg(long, value_delimiter = ',')]
    pub registry_mirror: Vec<String>,
    /// Registries that are spoken to in plain HTTP. Loopback always is.
    #[arg(long, value_delimiter = ',')]
    pub insecure_registry: Vec<String>,
    /// A log file is rotated at this size.
    #[arg(long, default_value = "10Mi")]
    pub container_log_max_size: String,
    /// Files of a container's log, the current one among them.
    #[arg(long, default_value_t = 5)]
    pub container_log_max_files: u32,
    /// Seconds between renewals of the node's Lease.
    #[arg(long, default_value_t = 10)]
    pub node_status_update_frequency: u64,
    #[command(flatten)]
    pub telemetry: TelemetryOptions,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_do_not_contradict_one_another() {
        Options::command().debug_assert();
    }

    #[test]
    fn help_explains_every_flag() {
        let command = Options::command();
        let silent = command.get_arguments().filter(|argument| argument.get_help().is_none());
        assert_eq!(silent.map(|argument| argument.get_id().to_string()).collect::<Vec<_>>(), Vec::<String>::new());
    }
}
