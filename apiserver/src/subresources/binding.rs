//! pods/binding: a pod gets its node, once.

use async_trait::async_trait;
use keelson_objects::status::{GroupResource, StatusError};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::kinds::fields::{Fields, FieldsMut};
use crate::kinds::validation::{Errors, Path};
use crate::pipeline::{Answer, Request};
use crate::registry::Exchange;

pub struct Bind;

#[async_trait]
impl Exchange for Bind {
    async fn exchange(&self, cluster: &Cluster, request: &Request, body: Value) -> Result<Answer, StatusError> {
        let name = body.sub("metadata").text("name");
        if !name.is_empty() && name != request.name {
            return Err(StatusError::bad_request("name in URL does not match name in Binding object"));
        }
        let errors = validate(body.sub("target"));
        if !errors.is_empty() {
            return Err(StatusError::invalid("", "Binding", &request.name, &errors.into_vec()));
        }
        let now = keelson_objects::time::now_seconds();
        let resource = GroupResource::new("", "pods/binding");
        let bind = |pod: &mut Value| {
            assign(pod, &body, &now).map_err(|why| StatusError::conflict(&resource, &request.name, why))
        };
        cluster.modify(request, &request.kind, &request.namespace, &request.name, bind).await?;
        Ok(super::created())
    }
}

fn validate(target: &Value) -> Errors {
    let mut errors = Errors::new();
    let path = Path::root("target");
    let kind = target.text("kind");
    if !kind.is_empty() && kind != "Node" {
        errors.not_supported(&path.child("kind"), kind, &["<empty>", "Node"]);
    }
    if target.text("name").is_empty() {
        errors.required(&path.child("name"), "");
    }
    errors
}

/// Gives the pod to the node, or says why not.
fn assign(pod: &mut Value, binding: &Value, now: &str) -> Result<(), String> {
    let metadata = pod.sub("metadata");
    let name = metadata.text("name").to_owned();
    let (asked, uid) = (binding.sub("metadata").text("uid"), metadata.text("uid"));
    if !asked.is_empty() && asked != uid {
        return Err(format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}"));
    }
    if metadata.present("deletionTimestamp") {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let bound = pod.sub("spec").text("nodeName");
    if !bound.is_empty() {
        return Err(format!("pod {name} is already assigned to node {bound:?}"));
    }
    if !pod.sub("spec").items("schedulingGates").is_empty() {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    pod.object("spec").put("nodeName", binding.sub("target").text("name"));
    for (key, value) in binding.sub("metadata").entries("annotations") {
        pod.object("metadata").object("annotations").put(key, value);
    }
    // the room that preemption made, if any, has served its purpose
    pod.object("status").remove_field("nominatedNodeName");
    set_scheduled(pod, now);
    Ok(())
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let mut scheduled =
        json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now });
    if let Some(generation) = pod.sub("metadata").int("generation") {
        scheduled["observedGeneration"] = generation.into();
    }
    let status = pod.object("status");
    let mut conditions = status.items("conditions").to_vec();
    match conditions.iter_mut().find(|condition| condition.text("type") == "PodScheduled") {
        Some(condition) if condition.text("status") == "True" => return,
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
    status.put("conditions", conditions);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(node: &str) -> Value {
        json!({"metadata": {"name": "web", "annotations": {"a": "b"}}, "target": {"kind": "Node", "name": node}})
    }

    #[test]
    fn a_pod_is_bound_once() {
        let mut pod = json!({"metadata": {"name": "web", "uid": "u"}, "spec": {},
            "status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}});
        assign(&mut pod, &binding("n1"), "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(pod.sub("spec").text("nodeName"), "n1");
        assert_eq!(pod.at(&["metadata", "annotations", "a"]), "b");
        let conditions = pod.sub("status").items("conditions");
        assert_eq!(conditions.len(), 1);
        assert_eq!((conditions[0].text("status"), conditions[0].text("reason")), ("True", ""));
        assert_eq!(
            assign(&mut pod, &binding("n2"), "2026-01-01T00:00:00Z"),
            Err("pod web is already assigned to node \"n1\"".to_owned())
        );
    }

    #[test]
    fn what_goes_or_waits_is_not_bound() {
        let table = [
            (json!({"metadata": {"name": "web", "deletionTimestamp": "x"}}), "is being deleted"),
            (json!({"metadata": {"name": "web"}, "spec": {"schedulingGates": [{"name": "g"}]}}), "schedulingGates"),
        ];
        for (mut pod, why) in table {
            assert!(assign(&mut pod, &binding("n"), "x").unwrap_err().contains(why));
        }
        let mut pod = json!({"metadata": {"name": "web", "uid": "other"}});
        let mut asked = binding("n");
        asked["metadata"]["uid"] = "u".into();
        assert!(assign(&mut pod, &asked, "x").unwrap_err().starts_with("Precondition failed"));
    }

    #[test]
    fn a_binding_names_a_node() {
        let texts = |target: Value| validate(&target).into_vec().iter().map(ToString::to_string).collect::<Vec<_>>();
        assert!(texts(json!({"kind": "Node", "name": "n"})).is_empty());
        assert_eq!(
            texts(json!({"kind": "Pod"})),
            [
                "target.kind: Unsupported value: \"Pod\": supported values: \"<empty>\", \"Node\"",
                "target.name: Required value",
            ]
        );
    }
}
