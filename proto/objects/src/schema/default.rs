//! Static defaults: the values that the API server sets for what an object leaves out.

use serde_json::{Map, Value};

use super::model::{Definitions, NodeId, Shape, StaticDefault, TypeId, When};
use super::reference::SchemaRef;

/// Sets the defaults of the schema everywhere in `value`, also inside of objects that defaults made.
///
/// `value` has been decoded by the same schema; what does not fit is left as it is.
pub fn default(value: &mut Value, schema: SchemaRef<'_>) {
    set_below(schema.definitions(), schema.node_id(), value);
}

fn set_below(definitions: &Definitions, id: NodeId, value: &mut Value) {
    let node = definitions.node(id);
    match (node.shape, value) {
        (Shape::Object, Value::Object(map)) => set_object(definitions, TypeId(node.inner), map),
        (Shape::Map, Value::Object(map)) if has_below(definitions, NodeId(node.inner)) => {
            map.values_mut().for_each(|value| set_below(definitions, NodeId(node.inner), value));
        }
        (Shape::List, Value::Array(items)) if has_below(definitions, NodeId(node.inner)) => {
            items.iter_mut().for_each(|item| set_below(definitions, NodeId(node.inner), item));
        }
        _ => {}
    }
}

fn has_below(definitions: &Definitions, id: NodeId) -> bool {
    let node = definitions.node(id);
    match node.shape {
        Shape::Object => definitions.type_of(TypeId(node.inner)).defaults_below,
        Shape::Map | Shape::List => has_below(definitions, NodeId(node.inner)),
        _ => false,
    }
}

fn set_object(definitions: &Definitions, id: TypeId, map: &mut Map<String, Value>) {
    let of = definitions.type_of(id);
    if !of.defaults_below {
        return;
    }
    // Conditions look at siblings, so what has no condition comes first.
    for conditional in [false, true] {
        for property in definitions.properties_of(id) {
            let Some(default) = definitions.default_of(definitions.field(property.field)) else { continue };
            if matches!(default.when, When::Absent) == conditional {
                continue;
            }
            let name = definitions.text(property.name);
            if is_missing(map.get(name), default) && holds(definitions, &default.when, map) {
                map.insert(name.to_owned(), default.value.clone());
            }
        }
    }
    for (key, value) in map.iter_mut() {
        if let Some(index) = definitions.find_property(id, key) {
            set_below(definitions, definitions.field(index).node, value);
        } else if let Some(additional) = of.additional {
            set_below(definitions, additional, value);
        }
    }
}

fn is_missing(value: Option<&Value>, default: &StaticDefault) -> bool {
    match value {
        None => true,
        Some(_) if !default.replaces_zero => false,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(Value::Bool(flag)) => !flag,
        Some(_) => false,
    }
}

fn holds(definitions: &Definitions, when: &When, map: &Map<String, Value>) -> bool {
    match when {
        When::Absent => true,
        When::Sibling(name, values) => map.get(definitions.text(*name)).is_some_and(|sibling| values.contains(sibling)),
        When::NoOther(union) => {
            definitions.properties_of(*union).iter().all(|property| !map.contains_key(definitions.text(property.name)))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    fn defaulted(group: &str, version: &str, kind: &str, mut value: Value) -> Value {
        default(&mut value, builtin().kind(group, version, kind).expect("a built-in kind"));
        value
    }

    #[test]
    fn a_pod_template_gets_its_defaults_wherever_it_stands() {
        let template = json!({"spec": {
            "containers": [{
                "name": "c",
                "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": 80}, "timeoutSeconds": 5},
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            }],
            "initContainers": [{"name": "i", "terminationMessagePolicy": "FallbackToLogsOnError"}],
            "volumes": [
                {"name": "empty"},
                {"name": "secret", "secret": {"secretName": "s"}},
                {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}},
            ],
        }});
        let expected = json!({
            "containers": [{
                "name": "c",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "livenessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 5, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                },
                "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP", "apiVersion": "v1"}}}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            }],
            "initContainers": [{
                "name": "i",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "FallbackToLogsOnError",
            }],
            "volumes": [
                {"name": "empty", "emptyDir": {}},
                {"name": "secret", "secret": {"secretName": "s", "defaultMode": 420}},
                {"name": "all", "projected": {
                    "sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}}], "defaultMode": 420,
                }},
            ],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30,
        });
        for (group, version, kind, path) in [
            ("", "v1", "PodTemplate", "/template"),
            ("apps", "v1", "Deployment", "/spec/template"),
            ("apps", "v1", "StatefulSet", "/spec/template"),
            ("batch", "v1", "CronJob", "/spec/jobTemplate/spec/template"),
        ] {
            let mut value = template.clone();
            for step in path.split('/').skip(1).collect::<Vec<_>>().into_iter().rev() {
                value = json!({step: value});
            }
            let result = defaulted(group, version, kind, value);
            assert_eq!(result.pointer(&format!("{path}/spec")), Some(&expected), "{kind}");
        }
    }

    #[test]
    fn conditional_defaults_follow_their_sibling() {
        let strategy = |strategy: Value| {
            defaulted("apps", "v1", "Deployment", json!({"spec": {"strategy": strategy}}))["spec"]["strategy"].clone()
        };
        assert_eq!(
            strategy(json!({})),
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}),
        );
        assert_eq!(
            strategy(json!({"rollingUpdate": {"maxSurge": 0}})),
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": "25%"}}),
        );
        assert_eq!(strategy(json!({"type": "Recreate"})), json!({"type": "Recreate"}));
    }

    #[test]
    fn services_get_the_policies_of_their_type() {
        let spec = |spec: Value| defaulted("", "v1", "Service", json!({"spec": spec}))["spec"].clone();
        assert_eq!(
            spec(json!({"ports": [{"port": 80}]})),
            json!({
                "ports": [{"port": 80, "protocol": "TCP"}],
                "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster",
            }),
        );
        let external = spec(json!({"type": "LoadBalancer", "sessionAffinity": "ClientIP"}));
        assert_eq!(external["externalTrafficPolicy"], "Cluster");
        assert_eq!(external["allocateLoadBalancerNodePorts"], true);
        assert_eq!(external["sessionAffinityConfig"], json!({"clientIP": {"timeoutSeconds": 10800}}));
        assert_eq!(spec(json!({"type": "ExternalName"})), json!({"type": "ExternalName", "sessionAffinity": "None"}));
    }

    #[test]
    fn defaulting_twice_changes_nothing() {
        for (group, version, kind) in [("apps", "v1", "DaemonSet"), ("batch", "v1", "CronJob"), ("", "v1", "Secret")] {
            let once = defaulted(group, version, kind, json!({"spec": {}}));
            assert_eq!(defaulted(group, version, kind, once.clone()), once);
        }
    }
}
