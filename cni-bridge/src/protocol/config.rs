//! The network configuration that comes on standard input.
//!
//! Fields of all three plugins stand side by side: each reads its own. Unknown fields are ignored, as the
//! specification wants it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{CniResult, Dns};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkConfig {
    pub cni_version: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub prev_result: Option<CniResult>,
    /// Handed on to a delegated IPAM plugin as it is; see [`crate::host_local`].
    pub ipam: serde_json::Value,
    pub dns: Dns,
    pub runtime_config: RuntimeConfig,
    pub args: Args,
    #[serde(rename = "cni.dev/valid-attachments")]
    pub valid_attachments: Option<Vec<Attachment>>,
    #[serde(flatten)]
    pub bridge: BridgeConfig,
}

/// What `type: bridge` reads.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BridgeConfig {
    #[serde(rename = "bridge")]
    pub name: String,
    pub is_gateway: bool,
    pub is_default_gateway: bool,
    pub force_address: bool,
    pub ip_masq: bool,
    /// Ours: destinations that are reached under the pod's own address although `ipMasq` is on (other nodes' pods).
    pub masquerade_except: Vec<IpNet>,
    pub mtu: u32,
    pub hairpin_mode: bool,
    pub promisc_mode: bool,
    pub port_isolation: bool,
    pub vlan: u32,
    pub vlan_trunk: serde_json::Value,
    pub macspoofchk: bool,
    pub disable_container_interface: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeConfig {
    pub mac: String,
    pub ips: Vec<String>,
    pub ip_ranges: Vec<Vec<RangeConfig>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Args {
    pub cni: CniArgs,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CniArgs {
    pub ips: Vec<String>,
    pub mac: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RangeConfig {
    pub subnet: IpNet,
    pub range_start: Option<IpAddr>,
    pub range_end: Option<IpAddr>,
    pub gateway: Option<IpAddr>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub dst: IpNet,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
pub struct Attachment {
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub ifname: String,
}

/// Names of networks and containers become file names.
pub fn is_valid_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_configuration_is_understood() {
        let text = r#"{"cniVersion":"0.3.1","name":"bridge","type":"bridge","bridge":"cnio0","isGateway":true,
            "ipMasq":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.3.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}}"#;
        let config: NetworkConfig = serde_json::from_str(text).expect("configuration");
        assert_eq!((config.name.as_str(), config.bridge.name.as_str()), ("bridge", "cnio0"));
        assert!(config.bridge.is_gateway && config.bridge.ip_masq && !config.bridge.is_default_gateway);
        assert_eq!(config.ipam["type"], "host-local");
    }

    #[test]
    fn names_are_safe_as_file_names() {
        for (name, valid) in
            [("cbr0", true), ("a.b_c-d", true), ("", false), ("../x", false), (".hidden", false), ("a/b", false)]
        {
            assert_eq!(is_valid_name(name), valid, "{name}");
        }
    }
}
