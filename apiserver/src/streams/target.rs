//! The pod that a stream is with, and where its node's agent listens.

use keelson_objects::status::{GroupResource, StatusError};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::kinds::fields::Fields;
use crate::pipeline::{Attributes, Operation, Request};

/// The pod as it is now, after admission has let the connection pass.
pub async fn pod(cluster: &Cluster, request: &Request) -> Result<Value, StatusError> {
    let entry = match cluster.cached("", "pods", &request.namespace, &request.name) {
        Some(entry) => Some(entry),
        None => cluster.current("", "pods", &request.namespace, &request.name).await?,
    };
    let Some(entry) = entry else {
        return Err(StatusError::not_found(&GroupResource::new("", "pods"), &request.name));
    };
    admit(cluster, request).await?;
    entry.value()
}

async fn admit(cluster: &Cluster, request: &Request) -> Result<(), StatusError> {
    let now = keelson_objects::time::now_seconds();
    let (mut object, mut warnings) = (Value::Null, Vec::new());
    let mut attributes = Attributes {
        operation: Operation::Connect,
        kind: &request.kind,
        subresource: &request.subresource,
        namespace: &request.namespace,
        name: &request.name,
        object: &mut object,
        old_object: None,
        user: &request.user,
        dry_run: false,
        warnings: &mut warnings,
        cluster,
        now: &now,
    };
    cluster.admission().admit(&mut attributes).await?;
    cluster.admission().validate(&attributes).await
}

/// The name of the pod's node; an error when there is none yet.
pub fn node_name(pod: &Value) -> Result<&str, StatusError> {
    match pod.sub("spec").text("nodeName") {
        "" => {
            let name = pod.sub("metadata").text("name");
            Err(StatusError::bad_request(format!("pod {name} does not have a host assigned")))
        }
        node => Ok(node),
    }
}

/// `https://<address>:<port>` of a node's agent.
pub fn agent_url(node: &Value) -> Option<String> {
    let status = node.sub("status");
    let addresses = status.items("addresses");
    let of_kind = |kind: &str| addresses.iter().find(|address| address.text("type") == kind);
    let address = ["InternalIP", "ExternalIP", "Hostname"].iter().find_map(|kind| of_kind(kind))?.text("address");
    let port = status.at(&["daemonEndpoints", "kubeletEndpoint"]).int("Port").filter(|port| *port > 0).unwrap_or(10250);
    Some(if address.contains(':') {
        format!("https://[{address}]:{port}")
    } else {
        format!("https://{address}:{port}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_agent_is_found_by_its_nodes_internal_address() {
        let node = json!({"status": {
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.7"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10251}}}});
        assert_eq!(agent_url(&node).as_deref(), Some("https://10.0.0.7:10251"));
        let v6 = json!({"status": {"addresses": [{"type": "InternalIP", "address": "fd00::1"}]}});
        assert_eq!(agent_url(&v6).as_deref(), Some("https://[fd00::1]:10250"));
        assert_eq!(agent_url(&json!({})), None);
    }

    #[test]
    fn a_pod_without_a_node_has_no_agent() {
        let error = node_name(&json!({"metadata": {"name": "web"}})).unwrap_err();
        assert_eq!(error.to_string(), "pod web does not have a host assigned");
    }
}
