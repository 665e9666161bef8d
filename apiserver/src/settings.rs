//! What the options come to: the facts about this cluster that kinds and plugins need.

use std::net::IpAddr;

use ipnet::IpNet;
use keelson_process::identity::TlsFiles;

#[derive(Debug, Clone)]
pub struct Settings {
    pub service_cidr: IpNet,
    /// Where the API is reached from the cluster; the endpoint of the `kubernetes` Service.
    pub advertise_address: IpAddr,
    pub secure_port: u16,
    /// `iss` of service-account tokens.
    pub service_account_issuer: String,
    /// Audiences that this server accepts and that tokens get by default.
    pub api_audiences: Vec<String>,
    /// How the API server shows itself to node agents; None refuses logs, exec and the like.
    pub node_client: Option<TlsFiles>,
}
