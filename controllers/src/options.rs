//! The options of the process, under kube-controller-manager's names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser};
use ipnet::IpNet;
use keelson_client::leader::{LeaderOptions, unique_identity};
use keelson_process::TelemetryOptions;

use crate::nodelifecycle::{Grace, Pace, Settings};
use crate::{durations, registry};

/// Runs the controllers of a cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "controllers", version, args_override_self = true)]
#[group(skip)]
pub struct Options {
    /// A YAML file that says the same things as these flags.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The kubeconfig whose server is the API server's gRPC door.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,

    /// The controllers to run: `*` stands for all, a name enables, `-name` disables.
    #[arg(long, value_delimiter = ',', default_value = "*", allow_hyphen_values = true)]
    pub controllers: Vec<String>,

    /// The address on which health and metrics are served.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind_address: IpAddr,

    /// The port on which health and metrics are served; 0 serves none.
    #[arg(long, default_value_t = 10257)]
    pub secure_port: u16,

    /// The certificate of the health door; without one it speaks plain HTTP.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// The key of the health door's certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    #[command(flatten)]
    pub leader_election: LeaderElection,

    #[command(flatten)]
    pub nodes: Nodes,

    #[command(flatten)]
    pub concurrency: Concurrency,

    /// The CA that every namespace publishes, as the ConfigMap kube-root-ca.crt. Without it nothing is published.
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,

    /// Taken for compatibility: tokens of ServiceAccounts are signed by the API server on request.
    #[arg(long, value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,

    /// How many pods that have ended are kept; 0 keeps all.
    #[arg(long, default_value_t = 12_500)]
    pub terminated_pod_gc_threshold: usize,

    /// The most endpoints in one EndpointSlice.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_endpoints_per_slice: u16,

    #[command(flatten)]
    pub telemetry: TelemetryOptions,
}

#[derive(Clone, Debug, clap::Args)]
pub struct LeaderElection {
    /// Run the controllers only while holding the Lease, so that several processes can stand by for each other.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub leader_elect: bool,

    /// How long a Lease that is not renewed is respected.
    #[arg(long, default_value = "15s", value_parser = durations::parse)]
    pub leader_elect_lease_duration: Duration,

    /// How long a leader tries to renew before it gives up.
    #[arg(long, default_value = "10s", value_parser = durations::parse)]
    pub leader_elect_renew_deadline: Duration,

    /// The wait between two tries.
    #[arg(long, default_value = "2s", value_parser = durations::parse)]
    pub leader_elect_retry_period: Duration,

    /// The name of the Lease.
    #[arg(long, default_value = "kube-controller-manager")]
    pub leader_elect_resource_name: String,

    /// The namespace of the Lease.
    #[arg(long, default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
}

impl LeaderElection {
    pub fn for_host(&self, host: &str) -> LeaderOptions {
        LeaderOptions {
            lease_duration: self.leader_elect_lease_duration,
            renew_deadline: self.leader_elect_renew_deadline,
            retry_period: self.leader_elect_retry_period,
            ..LeaderOptions::new(
                &self.leader_elect_resource_namespace,
                &self.leader_elect_resource_name,
                &unique_identity(host),
            )
        }
    }
}

#[derive(Clone, Debug, clap::Args)]
pub struct Nodes {
    /// Give every node its part of the cluster CIDR.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allocate_node_cidrs: bool,

    /// The range of pod addresses.
    #[arg(long, default_value = "10.244.0.0/16")]
    pub cluster_cidr: IpNet,

    /// The mask of one node's part; 24 for IPv4 and 64 for IPv6 if not given.
    #[arg(long)]
    pub node_cidr_mask_size: Option<u8>,

    /// How long a node may be silent before it counts as not ready.
    #[arg(long, default_value = "50s", value_parser = durations::parse)]
    pub node_monitor_grace_period: Duration,

    /// How long a node may take to report for the first time.
    #[arg(long, default_value = "1m", value_parser = durations::parse)]
    pub node_startup_grace_period: Duration,

    /// How often nodes are looked at that no event will bring back.
    #[arg(long, default_value = "5s", value_parser = durations::parse)]
    pub node_monitor_period: Duration,

    /// Nodes a second that are emptied in a healthy zone.
    #[arg(long, default_value_t = 0.1)]
    pub node_eviction_rate: f64,

    /// Nodes a second that are emptied in a large zone in trouble.
    #[arg(long, default_value_t = 0.01)]
    pub secondary_node_eviction_rate: f64,

    /// A zone with more nodes than this is large; a smaller one in trouble is not emptied at all.
    #[arg(long, default_value_t = 50)]
    pub large_cluster_size_threshold: usize,

    /// A zone of which this share is not ready is in trouble.
    #[arg(long, default_value_t = 0.55)]
    pub unhealthy_zone_threshold: f64,
}

impl Nodes {
    pub fn mask(&self) -> u8 {
        let usual = if self.cluster_cidr.max_prefix_len() == 32 { 24 } else { 64 };
        self.node_cidr_mask_size.unwrap_or(usual)
    }

    pub fn settings(&self) -> Settings {
        Settings {
            grace: Grace { monitor: self.node_monitor_grace_period, startup: self.node_startup_grace_period },
            pace: Pace {
                usual: self.node_eviction_rate,
                in_trouble: self.secondary_node_eviction_rate,
                large_zone: self.large_cluster_size_threshold,
                unhealthy_share: self.unhealthy_zone_threshold,
            },
            period: self.node_monitor_period,
        }
    }
}

#[derive(Clone, Debug, clap::Args)]
pub struct Concurrency {
    /// Deployments that are worked on at once.
    #[arg(long, default_value_t = 5)]
    pub concurrent_deployment_syncs: usize,

    /// ReplicaSets that are worked on at once.
    #[arg(long, default_value_t = 5)]
    pub concurrent_replicaset_syncs: usize,

    /// Objects that are examined for collection at once.
    #[arg(long, default_value_t = 20)]
    pub concurrent_gc_syncs: usize,

    /// Namespaces that are worked on at once.
    #[arg(long, default_value_t = 10)]
    pub concurrent_namespace_syncs: usize,

    /// Namespaces that get their ServiceAccount at once.
    #[arg(long, default_value_t = 5)]
    pub concurrent_serviceaccount_token_syncs: usize,

    /// Services whose EndpointSlices are worked on at once.
    #[arg(long, default_value_t = 5)]
    pub concurrent_service_endpoint_syncs: usize,
}

impl Options {
    pub fn health_address(&self) -> Option<SocketAddr> {
        (self.secure_port != 0).then(|| SocketAddr::new(self.bind_address, self.secure_port))
    }

    /// Whether the controller of that name is to run. A name wins over `*`.
    pub fn enables(&self, controller: &str) -> bool {
        let says = |text: &str| self.controllers.iter().any(|one| one == text);
        let disabled = self.controllers.iter().any(|one| one.strip_prefix('-') == Some(controller));
        says(controller) || (says("*") && !disabled)
    }

    /// The names in `--controllers` that no controller has.
    pub fn unknown_controllers(&self) -> Vec<&str> {
        let names = self.controllers.iter().map(|one| one.strip_prefix('-').unwrap_or(one));
        names.filter(|name| *name != "*" && !registry::NAMES.contains(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let all = ["controllers", "--kubeconfig=/k"].iter().chain(arguments);
        Options::try_parse_from(all).expect("options")
    }

    #[test]
    fn controllers_are_chosen_by_name() {
        let cases: [(&[&str], bool, bool); 4] = [
            (&[], true, true),
            (&["--controllers=*,-deployment-controller"], false, true),
            (&["--controllers=deployment-controller"], true, false),
            (&["--controllers=-deployment-controller"], false, false),
        ];
        for (arguments, deployments, sets) in cases {
            let options = options(arguments);
            assert_eq!(options.enables("deployment-controller"), deployments, "{arguments:?}");
            assert_eq!(options.enables("replicaset-controller"), sets, "{arguments:?}");
        }
        assert_eq!(options(&["--controllers=*,-nothing"]).unknown_controllers(), ["nothing"]);
    }

    #[test]
    fn upstream_spellings() {
        let options = options(&[
            "--leader-elect=false",
            "--allocate-node-cidrs",
            "--cluster-cidr=10.1.0.0/16",
            "--node-monitor-grace-period=40s",
            "--secure-port=0",
        ]);
        assert!(!options.leader_election.leader_elect && options.nodes.allocate_node_cidrs);
        assert_eq!(options.nodes.settings().grace.monitor, Duration::from_secs(40));
        assert_eq!(options.nodes.mask(), 24);
        assert_eq!(options.health_address(), None);
    }
}
