//! The result of ADD, kept in the shape of 1.0.0 and printed in the version asked for.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::Route;

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct CniResult {
    pub interfaces: Vec<Interface>,
    pub ips: Vec<IpConfig>,
    pub routes: Vec<Route>,
    pub dns: Dns,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mac: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sandbox: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IpConfig {
    pub address: IpNet,
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    /// Index into `interfaces`.
    #[serde(default)]
    pub interface: Option<usize>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}

impl CniResult {
    pub fn to_json(&self, version: &str) -> String {
        let before_one = version.starts_with("0.");
        let ips: Vec<Value> = self.ips.iter().map(|ip| ip.to_value(before_one)).collect();
        let mut answer = json!({ "cniVersion": version });
        if !self.interfaces.is_empty() {
            let mut interfaces = self.interfaces.clone();
            // The MTU of an interface came with 1.1.0.
            if version != "1.1.0" {
                interfaces.iter_mut().for_each(|interface| interface.mtu = None);
            }
            answer["interfaces"] = json!(interfaces);
        }
        if !ips.is_empty() {
            answer["ips"] = Value::Array(ips);
        }
        if !self.routes.is_empty() {
            answer["routes"] = json!(self.routes);
        }
        answer["dns"] = json!(self.dns);
        answer.to_string()
    }
}

impl IpConfig {
    fn to_value(&self, before_one: bool) -> Value {
        let mut value = json!({ "address": self.address });
        if before_one {
            value["version"] = if self.address.addr().is_ipv4() { "4" } else { "6" }.into();
        }
        if let Some(interface) = self.interface {
            value["interface"] = interface.into();
        }
        if let Some(gateway) = self.gateway {
            value["gateway"] = gateway.to_string().into();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_shape() {
        let result = CniResult {
            interfaces: vec![Interface { name: "eth0".into(), mtu: Some(1500), ..Interface::default() }],
            ips: vec![IpConfig {
                address: "10.0.0.2/24".parse().expect("network"),
                gateway: Some("10.0.0.1".parse().expect("address")),
                interface: Some(0),
            }],
            ..CniResult::default()
        };
        let parse = |version| serde_json::from_str::<Value>(&result.to_json(version)).expect("JSON");

        let old = parse("0.3.1");
        assert_eq!(old["ips"][0]["version"], "4");
        assert!(old["interfaces"][0].get("mtu").is_none());
        let new = parse("1.1.0");
        assert!(new["ips"][0].get("version").is_none());
        assert_eq!(new["interfaces"][0]["mtu"], 1500);
        assert_eq!(new["ips"][0]["gateway"], "10.0.0.1");
        assert_eq!(new["dns"], json!({}));
    }
}
