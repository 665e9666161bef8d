//! Defaults of a pod's spec that depend on other fields. What is always the same comes from the schema.

use serde_json::{Value, json};

use crate::kinds::fields::{Fields, FieldsMut};

/// For a pod itself: what a template leaves open until a pod is made from it.
pub fn of_pod(pod: &mut Value) {
    let spec = pod.object("spec");
    of_spec(spec);
    for list in ["containers", "initContainers"] {
        for container in spec.items_mut(list) {
            requests_from_limits(container);
        }
    }
    if spec.flag("hostNetwork") == Some(true) {
        host_ports(spec);
    }
    spec.put_if_absent("enableServiceLinks", true);
}

/// For the spec of a pod or of a template.
pub fn of_spec(spec: &mut Value) {
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in spec.items_mut(list) {
            of_container(container);
        }
    }
    for volume in spec.items_mut("volumes") {
        of_volume(volume);
    }
    // one account under two names: the old one follows the new one
    let account = match spec.text("serviceAccountName") {
        "" => spec.text("serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    if !account.is_empty() {
        spec.put("serviceAccountName", account.clone());
        spec.put("serviceAccount", account);
    }
    for constraint in spec.items_mut("topologySpreadConstraints") {
        if constraint.is_object() && constraint.text("whenUnsatisfiable").is_empty() {
            constraint.put("whenUnsatisfiable", "DoNotSchedule");
        }
    }
    spec.put_if_absent("restartPolicy", "Always");
    spec.put_if_absent("dnsPolicy", "ClusterFirst");
    spec.put_if_absent("schedulerName", "default-scheduler");
    spec.put_if_absent("terminationGracePeriodSeconds", 30);
    spec.put_if_absent("securityContext", json!({}));
}

fn of_container(container: &mut Value) {
    if !container.present("imagePullPolicy") || container.text("imagePullPolicy").is_empty() {
        let policy = if is_latest(container.text("image")) { "Always" } else { "IfNotPresent" };
        container.put("imagePullPolicy", policy);
    }
    container.put_if_absent("terminationMessagePath", "/dev/termination-log");
    container.put_if_absent("terminationMessagePolicy", "File");
    container.put_if_absent("resources", json!({}));
    for port in container.items_mut("ports") {
        port.put_if_absent("protocol", "TCP");
    }
    for variable in container.items_mut("env") {
        if variable.sub("valueFrom").present("fieldRef") {
            variable.object("valueFrom").object("fieldRef").put_if_absent("apiVersion", "v1");
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.present(kind) {
            of_probe(container.object(kind));
        }
    }
    if container.present("lifecycle") {
        let lifecycle = container.object("lifecycle");
        for hook in ["postStart", "preStop"] {
            if lifecycle.present(hook) {
                of_http_get(lifecycle.object(hook));
            }
        }
    }
}

fn of_probe(probe: &mut Value) {
    for (field, default) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        // a zero cannot be told from an absent value in upstream's types
        if probe.int(field).unwrap_or(0) == 0 {
            probe.put(field, default);
        }
    }
    of_http_get(probe);
    if probe.present("grpc") {
        probe.object("grpc").put_if_absent("service", "");
    }
}

fn of_http_get(handler: &mut Value) {
    if !handler.present("httpGet") {
        return;
    }
    let get = handler.object("httpGet");
    if get.text("path").is_empty() {
        get.put("path", "/");
    }
    if get.text("scheme").is_empty() {
        get.put("scheme", "HTTP");
    }
}

fn of_volume(volume: &mut Value) {
    const SOURCES_WITH_MODE: [&str; 4] = ["secret", "configMap", "downwardAPI", "projected"];
    const MODE: i64 = 0o644;
    for source in SOURCES_WITH_MODE {
        if volume.present(source) {
            volume.object(source).put_if_absent("defaultMode", MODE);
        }
    }
    if volume.present("downwardAPI") {
        of_downward_items(volume.object("downwardAPI"));
    }
    if volume.present("hostPath") {
        volume.object("hostPath").put_if_absent("type", "");
    }
    if volume.present("projected") {
        for source in volume.object("projected").items_mut("sources") {
            if source.present("serviceAccountToken") {
                source.object("serviceAccountToken").put_if_absent("expirationSeconds", 3600);
            }
            if source.present("downwardAPI") {
                of_downward_items(source.object("downwardAPI"));
            }
        }
    }
    if volume.present("image") {
        let image = volume.object("image");
        if image.text("pullPolicy").is_empty() {
            let policy = if is_latest(image.text("reference")) { "Always" } else { "IfNotPresent" };
            image.put("pullPolicy", policy);
        }
    }
    let sources = volume
        .as_object()
        .map_or(0, |volume| volume.iter().filter(|(key, value)| *key != "name" && !value.is_null()).count());
    if sources == 0 && volume.is_object() {
        volume.put("emptyDir", json!({}));
    }
}

fn of_downward_items(source: &mut Value) {
    for item in source.items_mut("items") {
        if item.present("fieldRef") {
            item.object("fieldRef").put_if_absent("apiVersion", "v1");
        }
    }
}

/// A limit without a request is also the request.
fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container.sub("resources").map("limits").cloned() else { return };
    let requests = container.object("resources").object("requests");
    for (name, limit) in limits {
        requests.put_if_absent(&name, limit);
    }
    if requests.as_object().is_some_and(|requests| requests.is_empty()) {
        container.object("resources").remove_field("requests");
    }
}

/// In the host's network a container's port is the host's port. Templates stay as they are written.
fn host_ports(spec: &mut Value) {
    for list in ["containers", "initContainers"] {
        for container in spec.items_mut(list) {
            for port in container.items_mut("ports") {
                if port.int("hostPort").unwrap_or(0) == 0 {
                    let number = port.sub("containerPort").clone();
                    port.put("hostPort", number);
                }
            }
        }
    }
}

/// Whether an image reference means the newest image: the tag `latest`, or neither tag nor digest.
fn is_latest(image: &str) -> bool {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_none() && !image.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policy_follows_the_tag() {
        for (image, policy) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.27", "IfNotPresent"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/team/nginx:v1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
            ("nginx:latest@sha256:abc", "Always"),
        ] {
            let mut container = json!({"image": image});
            of_container(&mut container);
            assert_eq!(container.text("imagePullPolicy"), policy, "{image}");
        }
    }

    #[test]
    fn requests_come_from_limits() {
        let mut pod = json!({"spec": {"containers": [
            {"name": "a", "image": "b:1", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}
        ]}});
        of_pod(&mut pod);
        let requests = pod.sub("spec").items("containers")[0].at(&["resources", "requests"]);
        assert_eq!(requests, &json!({"cpu": "500m", "memory": "1Gi"}));
        let once = pod.clone();
        of_pod(&mut pod);
        assert_eq!(pod, once, "defaulting twice changes nothing");
    }

    #[test]
    fn accounts_volumes_and_probes_are_filled_in() {
        let mut spec = json!({
            "serviceAccount": "robot",
            "containers": [{"name": "a", "image": "b:1",
                "livenessProbe": {"httpGet": {"port": 80}}, "ports": [{"containerPort": 80}]}],
            "volumes": [{"name": "s", "secret": {"secretName": "x"}}, {"name": "e"}],
        });
        of_spec(&mut spec);
        assert_eq!(spec.text("serviceAccountName"), "robot");
        assert_eq!(spec.items("volumes")[0].at(&["secret", "defaultMode"]), &json!(420));
        assert_eq!(spec.items("volumes")[1].sub("emptyDir"), &json!({}));
        let probe = spec.items("containers")[0].sub("livenessProbe");
        assert_eq!(probe.at(&["httpGet", "path"]), &json!("/"));
        assert_eq!(probe.int("failureThreshold"), Some(3));
        assert_eq!(spec.items("containers")[0].items("ports")[0].text("protocol"), "TCP");
    }
}
