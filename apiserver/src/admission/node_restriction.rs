//! NodeRestriction: a node's agent touches its own node, its own lease and the pods that run on it, and gets tokens
//! only for those pods.

use async_trait::async_trait;
use keelson_objects::status::{GroupResource, StatusError};
use serde_json::Value;

use super::forbidden;
use crate::authentication::User;
use crate::kinds::fields::{Fields, same};
use crate::kinds::pod::annotations::MIRROR;
use crate::pipeline::{Attributes, Operation, Plugin};
use crate::registry::Kind;

const USER_PREFIX: &str = "system:node:";
const GROUP: &str = "system:nodes";
const LEASES: &str = "kube-node-lease";

/// Labels in Kubernetes' own namespaces that an agent may set on its node.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
const OWN_LABEL_NAMESPACES: &[&str] = &["kubelet.kubernetes.io", "node.kubernetes.io"];

pub struct NodeRestriction;

#[async_trait]
impl Plugin for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, _operation: Operation, kind: &Kind, _subresource: &str) -> bool {
        matches!(
            (kind.group.as_ref(), kind.resource.as_ref()),
            ("", "pods" | "nodes" | "serviceaccounts") | ("coordination.k8s.io", "leases")
        )
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), StatusError> {
        let Some(node) = node_of(attributes.user) else { return Ok(()) };
        let verdict = match (attributes.kind.resource.as_ref(), attributes.subresource) {
            ("pods", subresource) => judge_pod(attributes, node, subresource).await?,
            ("nodes", _) => judge_node(attributes, node),
            ("leases", _) => judge_lease(attributes, node),
            ("serviceaccounts", "token") => return judge_token(attributes, node).await,
            _ => Ok(()),
        };
        verdict.map_err(|why| forbidden(attributes, why))
    }
}

/// The node that the user is the agent of.
fn node_of(user: &User) -> Option<&str> {
    user.name.strip_prefix(USER_PREFIX).filter(|_| user.in_group(GROUP))
}

async fn judge_pod(
    attributes: &Attributes<'_>,
    node: &str,
    subresource: &str,
) -> Result<Result<(), String>, StatusError> {
    let runs_on = |pod: &Value| pod.sub("spec").text("nodeName").to_owned();
    Ok(match (attributes.operation, subresource) {
        (Operation::Create, "") => judge_new_pod(attributes.object, node),
        (Operation::Delete, "") => match attributes.old_object.map(runs_on) {
            Some(other) if other != node => {
                Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            _ => Ok(()),
        },
        (Operation::Update, "status") => {
            let old = attributes.old_object.unwrap_or(&Value::Null);
            if runs_on(old) != node {
                Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
            } else if !same(attributes.object.at(&["metadata", "labels"]), old.at(&["metadata", "labels"])) {
                Err(format!("node {node:?} cannot update labels through pod status"))
            } else {
                Ok(())
            }
        }
        (Operation::Create, "eviction") => {
            let entry = attributes.cluster.cached("", "pods", attributes.namespace, attributes.name);
            let on_node = match entry {
                Some(entry) => runs_on(&entry.value()?) == node,
                None => true,
            };
            if on_node {
                Ok(())
            } else {
                Err(format!("node {node} can only evict pods with spec.nodeName set to itself"))
            }
        }
        (_, "") | (_, "status" | "eviction") => Ok(()),
        (_, other) => Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
    })
}

fn judge_new_pod(pod: &Value, node: &str) -> Result<(), String> {
    let (metadata, spec) = (pod.sub("metadata"), pod.sub("spec"));
    if !metadata.sub("annotations").present(MIRROR) {
        return Err(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if spec.text("nodeName") != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = metadata.items("ownerReferences");
    let own =
        |owner: &Value| owner.text("apiVersion") == "v1" && owner.text("kind") == "Node" && owner.text("name") == node;
    if owners.len() > 1 || !owners.iter().all(own) {
        return Err(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    if !spec.text("serviceAccountName").is_empty() {
        return Err(format!("node {node:?} can not create pods that reference a service account"));
    }
    let refers = |volume: &Value| {
        ["secret", "configMap", "persistentVolumeClaim", "projected"].iter().any(|source| volume.present(source))
    };
    if spec.items("volumes").iter().any(refers) {
        return Err(format!(
            "node {node:?} can not create pods that reference secrets, configmaps or persistentvolumeclaims"
        ));
    }
    Ok(())
}

fn judge_node(attributes: &Attributes<'_>, node: &str) -> Result<(), String> {
    let requested = match attributes.name {
        "" => attributes.object.sub("metadata").text("name"),
        name => name,
    };
    if requested != node {
        return Err(format!("node {node:?} is not allowed to modify node {requested:?}"));
    }
    let empty = Value::Null;
    let (old, new) = match attributes.operation {
        Operation::Create => (&empty, &*attributes.object),
        Operation::Update => (attributes.old_object.unwrap_or(&empty), &*attributes.object),
        _ => return Ok(()),
    };
    let labels = |object: &Value| object.at(&["metadata", "labels"]).clone();
    let mut foreign: Vec<String> = changed_labels(&labels(new), &labels(old)).filter(|key| !may_label(key)).collect();
    if !foreign.is_empty() {
        foreign.sort_unstable();
        return Err(format!("is not allowed to modify labels: {}", foreign.join(", ")));
    }
    if attributes.operation == Operation::Update {
        if !same(new.at(&["spec", "taints"]), old.at(&["spec", "taints"])) {
            return Err(format!("node {node:?} is not allowed to modify taints"));
        }
        if !same(new.at(&["metadata", "ownerReferences"]), old.at(&["metadata", "ownerReferences"])) {
            return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
        }
    }
    Ok(())
}

fn changed_labels(new: &Value, old: &Value) -> impl Iterator<Item = String> {
    let mut changed = Vec::new();
    for (left, right) in [(new, old), (old, new)] {
        for (key, value) in left.as_object().into_iter().flatten() {
            if right.get(key) != Some(value) && !changed.contains(key) {
                changed.push(key.clone());
            }
        }
    }
    changed.into_iter()
}

fn may_label(key: &str) -> bool {
    let Some((namespace, _)) = key.split_once('/') else { return true };
    let within = |domain: &str| namespace == domain || namespace.ends_with(&format!(".{domain}"));
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&key) || OWN_LABEL_NAMESPACES.iter().any(|own| within(own))
}

fn judge_lease(attributes: &Attributes<'_>, node: &str) -> Result<(), String> {
    if attributes.namespace != LEASES {
        return Err(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    let name = match attributes.name {
        "" => attributes.object.sub("metadata").text("name"),
        name => name,
    };
    if name != node {
        return Err("can only access node lease with the same name as the requesting node".to_owned());
    }
    Ok(())
}

async fn judge_token(attributes: &Attributes<'_>, node: &str) -> Result<(), StatusError> {
    let reference = attributes.object.at(&["spec", "boundObjectRef"]);
    let (name, uid) = (reference.text("name"), reference.text("uid"));
    if reference.text("apiVersion") != "v1" || reference.text("kind") != "Pod" || name.is_empty() {
        return Err(forbidden(attributes, "node requested token not bound to a pod"));
    }
    if uid.is_empty() {
        return Err(forbidden(attributes, "node requested token with a pod binding without a uid"));
    }
    let entry = match attributes.cluster.cached("", "pods", attributes.namespace, name) {
        Some(entry) => Some(entry),
        None => attributes.cluster.current("", "pods", attributes.namespace, name).await?,
    };
    let Some(entry) = entry else { return Err(StatusError::not_found(&GroupResource::new("", "pods"), name)) };
    let pod = entry.value()?;
    if pod.sub("metadata").text("uid") != uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(forbidden(attributes, why));
    }
    if pod.sub("spec").text("nodeName") != node {
        return Err(forbidden(attributes, "node requested token bound to a pod scheduled on a different node"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_agents_are_restricted() {
        assert_eq!(node_of(&User::new("system:node:n1", &[GROUP])), Some("n1"));
        assert_eq!(node_of(&User::new("system:node:n1", &[])), None);
        assert_eq!(node_of(&User::new("admin", &[GROUP])), None);
    }

    #[test]
    fn an_agent_labels_its_node_within_limits() {
        for (key, allowed) in [
            ("example.com/x", true),
            ("plain", true),
            ("kubernetes.io/hostname", true),
            ("node.kubernetes.io/anything", true),
            ("kubelet.kubernetes.io/x", true),
            ("node-role.kubernetes.io/control-plane", false),
            ("node-restriction.kubernetes.io/x", false),
            ("foo.k8s.io/x", false),
        ] {
            assert_eq!(may_label(key), allowed, "{key}");
        }
        let changed: Vec<String> = changed_labels(&json!({"a": "1", "b": "2"}), &json!({"b": "1", "c": "3"})).collect();
        assert_eq!(changed, ["a", "b", "c"]);
    }

    #[test]
    fn an_agent_makes_mirror_pods_of_its_own_only() {
        let pod = |annotations: Value, node: &str| json!({"metadata": {"annotations": annotations}, "spec": {"nodeName": node}});
        assert!(judge_new_pod(&pod(json!({MIRROR: "x"}), "n1"), "n1").is_ok());
        assert!(judge_new_pod(&pod(json!({MIRROR: "x"}), "n2"), "n1").is_err());
        assert!(judge_new_pod(&pod(json!({}), "n1"), "n1").unwrap_err().contains("can only create mirror pods"));
    }
}
