//! The downward API: fields of the pod (`fieldRef`) and resources of its containers (`resourceFieldRef`) as text.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use keelson_objects::field::quote;

use super::ConfigError;
use crate::pods::spec;
use crate::resources::{quantity_milli, quantity_value};

/// What the downward API needs to know beside the pod itself.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub pod_ips: &'a [IpAddr],
    pub host_ips: &'a [IpAddr],
    /// Stands in for limits that a container does not set.
    pub allocatable: &'a BTreeMap<String, Quantity>,
}

/// The value of a `fieldRef` path.
pub fn field(pod: &Pod, path: &str, around: &Surroundings<'_>) -> Result<String, ConfigError> {
    let metadata = &pod.metadata;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(unsupported(path)),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    let value = match path {
        "metadata.name" => spec::name(pod).to_owned(),
        "metadata.namespace" => spec::namespace(pod).to_owned(),
        "metadata.uid" => spec::uid(pod).to_owned(),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => spec::spec(pod).node_name.clone().unwrap_or_default(),
        "spec.serviceAccountName" => spec::spec(pod).service_account_name.clone().unwrap_or_default(),
        "status.hostIP" => around.host_ips.first().map(IpAddr::to_string).unwrap_or_default(),
        "status.hostIPs" => join(around.host_ips),
        "status.podIP" => around.pod_ips.first().map(IpAddr::to_string).unwrap_or_default(),
        "status.podIPs" => join(around.pod_ips),
        _ => return Err(unsupported(path)),
    };
    Ok(value)
}

fn unsupported(path: &str) -> ConfigError {
    ConfigError(format!("unsupported fieldPath: {path}"))
}

/// `metadata.labels['app']` as (`metadata.labels`, `app`).
fn subscript(path: &str) -> Option<(&str, &str)> {
    path.strip_suffix("']")?.split_once("['")
}

fn join(ips: &[IpAddr]) -> String {
    ips.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",")
}

/// `key="value"` a line, in the keys' order, with Go's escapes.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

/// The value of a `resourceFieldRef`; `container` is the one that it is for unless the reference names another.
pub fn resource(
    pod: &Pod,
    container: Option<&Container>,
    selector: &ResourceFieldSelector,
    around: &Surroundings<'_>,
) -> Result<String, ConfigError> {
    let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
    let container = match named {
        Some(name) => spec::find_container(pod, name).map(|(container, _)| container),
        None => container,
    };
    let container =
        container.ok_or_else(|| ConfigError(format!("container {} not found", named.unwrap_or_default())))?;
    let unsupported = || ConfigError(format!("unsupported container resource : {}", selector.resource));
    let (list, name) = selector.resource.split_once('.').ok_or_else(unsupported)?;
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !known {
        return Err(unsupported());
    }
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let amount = match list {
        "limits" => limits.and_then(|limits| limits.get(name)).or_else(|| around.allocatable.get(name)),
        "requests" => resources.and_then(|resources| resources.requests.as_ref()).and_then(|list| list.get(name)),
        _ => return Err(unsupported()),
    };
    let zero = Quantity("0".to_owned());
    let amount = amount.unwrap_or(&zero);
    let one = Quantity("1".to_owned());
    let divisor = selector.divisor.as_ref().filter(|divisor| quantity_milli(divisor) > 0).unwrap_or(&one);
    let value = if name == "cpu" {
        divide_up(quantity_milli(amount), quantity_milli(divisor))
    } else {
        divide_up(quantity_value(amount), quantity_value(divisor))
    };
    Ok(value.to_string())
}

fn divide_up(amount: i64, divisor: i64) -> i64 {
    let divisor = divisor.max(1);
    amount / divisor + i64::from(amount % divisor > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-1",
                "labels": {"app": "web", "tier": "front"}, "annotations": {"note": "two\n\"lines\""}},
            "spec": {"nodeName": "node1", "serviceAccountName": "robot", "containers": [
                {"name": "a", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}},
                {"name": "b"}]}
        }))
        .expect("a pod")
    }

    #[test]
    fn fields_and_resources_are_read() {
        let allocatable =
            BTreeMap::from([("cpu".to_owned(), Quantity("2".into())), ("memory".to_owned(), Quantity("1Gi".into()))]);
        let ips = ["10.0.0.7".parse().expect("an address"), "fd00::7".parse().expect("an address")];
        let hosts = ["192.0.2.1".parse().expect("an address")];
        let around = Surroundings { pod_ips: &ips, host_ips: &hosts, allocatable: &allocatable };
        let pod = pod();
        let table = [
            ("metadata.name", "web"),
            ("metadata.namespace", "shop"),
            ("metadata.uid", "u-1"),
            ("metadata.labels", "app=\"web\"\ntier=\"front\""),
            ("metadata.labels['tier']", "front"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations", "note=\"two\\n\\\"lines\\\"\""),
            ("spec.nodeName", "node1"),
            ("spec.serviceAccountName", "robot"),
            ("status.podIP", "10.0.0.7"),
            ("status.podIPs", "10.0.0.7,fd00::7"),
            ("status.hostIP", "192.0.2.1"),
        ];
        for (path, want) in table {
            assert_eq!(field(&pod, path, &around), Ok(want.to_owned()), "{path}");
        }
        assert!(field(&pod, "spec.containers", &around).is_err());

        let table = [
            ("a", "limits.cpu", "", "2"),
            ("a", "limits.cpu", "1m", "1500"),
            ("a", "requests.cpu", "1m", "250"),
            ("a", "limits.memory", "1Mi", "64"),
            ("a", "limits.memory", "", "67108864"),
            ("b", "limits.cpu", "", "2"),
            ("b", "limits.memory", "1Gi", "1"),
            ("b", "requests.cpu", "", "0"),
        ];
        for (name, resource_name, divisor, want) in table {
            let selector = ResourceFieldSelector {
                container_name: Some(name.to_owned()),
                divisor: (!divisor.is_empty()).then(|| Quantity(divisor.to_owned())),
                resource: resource_name.to_owned(),
            };
            assert_eq!(
                resource(&pod, None, &selector, &around),
                Ok(want.to_owned()),
                "{name} {resource_name} {divisor}"
            );
        }
    }
}
