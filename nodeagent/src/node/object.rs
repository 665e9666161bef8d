//! The Node object: made at registration, kept up to date after it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeDaemonEndpoints, NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::{Client, Error, Patch};
use serde_json::{Value, json};

use super::capacity::Resources;
use super::info;

/// What the node says of itself, apart from its conditions and images.
#[derive(Clone, Debug)]
pub struct Description {
    pub name: String,
    pub ips: Vec<IpAddr>,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub capacity: Resources,
    pub allocatable: Resources,
    pub info: NodeSystemInfo,
    /// Of the streaming door.
    pub port: u16,
}

impl Description {
    fn all_labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        let arch = info::architecture();
        for (key, value) in [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", arch),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", arch),
        ] {
            labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        labels
    }

    /// The status without conditions and images.
    pub fn status(&self) -> NodeStatus {
        let mut addresses: Vec<NodeAddress> =
            self.ips.iter().map(|ip| NodeAddress { type_: "InternalIP".to_owned(), address: ip.to_string() }).collect();
        addresses.push(NodeAddress { type_: "Hostname".to_owned(), address: self.name.clone() });
        NodeStatus {
            addresses: Some(addresses),
            capacity: Some(self.capacity.clone()),
            allocatable: Some(self.allocatable.clone()),
            daemon_endpoints: Some(NodeDaemonEndpoints {
                kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(self.port) }),
            }),
            node_info: Some(self.info.clone()),
            ..NodeStatus::default()
        }
    }

    /// Makes the Node, or brings the labels of the one that is there up to date. Its taints are the administrator's.
    pub async fn register(&self, client: &Client, status: NodeStatus) -> Result<Node, Error> {
        let nodes = client.all::<Node>();
        let labels = self.all_labels();
        let fresh = Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec {
                taints: (!self.taints.is_empty()).then(|| self.taints.clone()),
                ..NodeSpec::default()
            }),
            status: Some(status),
        };
        match nodes.create(&fresh).await {
            Err(error) if error.is_already_exists() => {}
            other => return other,
        }
        let known = nodes.get(&self.name).await?;
        let current = known.metadata.labels.clone().unwrap_or_default();
        if labels.iter().all(|(key, value)| current.get(key) == Some(value)) {
            return Ok(known);
        }
        nodes.patch(&self.name, &Patch::Merge(json!({"metadata": {"labels": labels}}))).await
    }
}

/// The fields of the status that changed, as a strategic merge patch; `None` when none did.
pub fn status_patch(known: &NodeStatus, wanted: &NodeStatus) -> Option<Patch> {
    let fields = |status: &NodeStatus| match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        // A status is a struct of plain data: it is always written as an object.
        _ => serde_json::Map::new(),
    };
    let known = fields(known);
    let changed: serde_json::Map<String, Value> =
        fields(wanted).into_iter().filter(|(name, value)| known.get(name) != Some(value)).collect();
    (!changed.is_empty()).then(|| Patch::Strategic(json!({ "status": changed })))
}

/// `key=value` labels.
pub fn parse_labels(texts: &[String]) -> Result<BTreeMap<String, String>, String> {
    let pairs = texts.iter().filter(|text| !text.is_empty());
    pairs
        .map(|text| {
            let pair = text.split_once('=').ok_or_else(|| format!("--node-labels: {text:?} is not key=value"))?;
            Ok((pair.0.to_owned(), pair.1.to_owned()))
        })
        .collect()
}

/// `key=value:effect` taints; the value may be missing.
pub fn parse_taints(texts: &[String]) -> Result<Vec<Taint>, String> {
    let taints = texts.iter().filter(|text| !text.is_empty());
    taints
        .map(|text| {
            let wrong = || format!("--register-with-taints: {text:?} is not key=value:effect");
            let (name, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
            if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
                return Err(wrong());
            }
            let (key, value) = name.split_once('=').unwrap_or((name, ""));
            Ok(Taint {
                key: key.to_owned(),
                value: (!value.is_empty()).then(|| value.to_owned()),
                effect: effect.to_owned(),
                time_added: None,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taints_are_read_with_and_without_values() {
        let taints = parse_taints(&["a=b:NoSchedule".to_owned(), "c:NoExecute".to_owned()]).expect("taints");
        assert_eq!((taints[0].key.as_str(), taints[0].value.as_deref()), ("a", Some("b")));
        assert_eq!((taints[1].key.as_str(), taints[1].value.as_deref()), ("c", None));
        assert!(parse_taints(&["a=b".to_owned()]).is_err());
        assert!(parse_taints(&["a=b:Never".to_owned()]).is_err());
    }

    #[test]
    fn only_changed_fields_are_patched() {
        let known = NodeStatus { phase: Some("x".to_owned()), ..NodeStatus::default() };
        let wanted = NodeStatus { images: Some(Vec::new()), ..known.clone() };
        assert!(status_patch(&known, &known.clone()).is_none());
        match status_patch(&known, &wanted) {
            Some(Patch::Strategic(patch)) => assert_eq!(patch, json!({"status": {"images": []}})),
            other => panic!("not a strategic patch: {other:?}"),
        }
    }
}
