//! The command line, in kube-apiserver's words wherever it has the same option.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use clap::{ArgAction, Parser};
use ipnet::IpNet;
use keelson_process::TelemetryOptions;

/// Keelson's API server: Kubernetes' API over an etcd v3 store
#[derive(Debug, Clone, Parser)]
#[command(name = "apiserver", version)]
#[group(id = "apiserver-options")]
pub struct Options {
    /// YAML file that says the same things as these flags; flags win
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Store endpoints (scheme://ip:port or unix:///path), comma separated; the first that accepts a connection is used
    #[arg(long, value_delimiter = ',', required = true)]
    pub etcd_servers: Vec<String>,

    /// CA that the store's certificate is verified by
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,

    /// Client certificate for the store
    #[arg(long, value_name = "FILE")]
    pub etcd_certfile: Option<PathBuf>,

    /// Client key for the store
    #[arg(long, value_name = "FILE")]
    pub etcd_keyfile: Option<PathBuf>,

    /// Seconds of history that the store keeps, by compacting it; 0 leaves that to the store
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    pub etcd_compaction_interval: u64,

    /// Address that both doors listen at
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,

    /// Port of the REST door (HTTPS); 0 chooses a free one
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,

    /// Port of the gRPC door (mutual TLS); 0 chooses a free one
    #[arg(long, default_value_t = 6444)]
    pub grpc_port: u16,

    /// Address under which the cluster reaches this server; by default the bind address, or the host's own
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,

    /// Server certificate (chain)
    #[arg(long, value_name = "FILE")]
    pub tls_cert_file: PathBuf,

    /// Server key
    #[arg(long, value_name = "FILE")]
    pub tls_private_key_file: PathBuf,

    /// CA of client certificates; the gRPC door requires one, the REST door accepts one
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: PathBuf,

    /// Keys that service-account tokens are verified by; may be given several times
    #[arg(long, value_name = "FILE", action = ArgAction::Append)]
    pub service_account_key_file: Vec<PathBuf>,

    /// Private key that service-account tokens are signed with
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,

    /// Issuer of service-account tokens
    #[arg(long, default_value = "https://kubernetes.default.svc")]
    pub service_account_issuer: String,

    /// Audiences of tokens for this API; by default the issuer
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,

    /// Range of Service cluster IPs
    #[arg(long, default_value = "10.96.0.0/16")]
    pub service_cluster_ip_range: IpNet,

    /// Static bearer tokens: lines of token,user,uid,"group1,group2"
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,

    /// Certificate that this server shows to node agents
    #[arg(long, value_name = "FILE")]
    pub kubelet_client_certificate: Option<PathBuf>,

    /// Key of that certificate
    #[arg(long, value_name = "FILE")]
    pub kubelet_client_key: Option<PathBuf>,

    /// CA of the node agents' certificates
    #[arg(long, value_name = "FILE")]
    pub kubelet_certificate_authority: Option<PathBuf>,

    /// Reads at once; more wait
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,

    /// Writes at once; more wait
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,

    /// Threads of the REST door; 0 means one a core
    #[arg(long, default_value_t = 0)]
    pub workers: usize,

    #[command(flatten)]
    pub telemetry: TelemetryOptions,
}

impl Options {
    /// `--advertise-address`, the bind address if pods can reach it, or the address that the host's default route uses.
    pub fn advertised(&self) -> IpAddr {
        self.advertise_address
            .or_else(|| {
                let address = self.bind_address;
                (!address.is_unspecified() && !address.is_loopback()).then_some(address)
            })
            .or_else(host_address)
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

/// Asks the kernel which source address it would use; nothing is sent.
fn host_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified() && !address.is_loopback()).then_some(address)
}
