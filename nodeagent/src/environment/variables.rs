//! A container's environment: `env`, `envFrom`, and the service variables below them.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVarSource, Pod, Secret};

use super::fields::{self, Surroundings};
use super::{ConfigError, expansion};
use crate::pods::spec;

/// Where values come from; looks into what the agent has, asks nobody.
pub trait Sources {
    fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>>;
    fn secret(&self, name: &str) -> Option<Arc<Secret>>;
}

/// The environment of `container`, in the order in which it is defined; a name defined twice keeps its last value.
pub fn resolve(
    pod: &Pod,
    container: &Container,
    sources: &dyn Sources,
    around: &Surroundings<'_>,
    services: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Variables::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(reference) = &source.config_map_ref {
            match sources.config_map(&reference.name) {
                Some(map) => {
                    for (key, value) in map.data.iter().flatten() {
                        variables.set(format!("{prefix}{key}"), value.clone());
                    }
                }
                None if reference.optional.unwrap_or(false) => {}
                None => return Err(missing("configmap", &reference.name)),
            }
        }
        if let Some(reference) = &source.secret_ref {
            match sources.secret(&reference.name) {
                Some(secret) => {
                    for (key, value) in secret.data.iter().flatten() {
                        variables.set(format!("{prefix}{key}"), String::from_utf8_lossy(&value.0).into_owned());
                    }
                }
                None if reference.optional.unwrap_or(false) => {}
                None => return Err(missing("secret", &reference.name)),
            }
        }
    }
    let service_values: HashMap<&str, &str> =
        services.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (Some(value), _) if !value.is_empty() => {
                let lookup = |name: &str| variables.get(name).or_else(|| service_values.get(name).copied());
                Some(expansion::expand(value, lookup))
            }
            (_, Some(source)) => from_source(pod, container, source, sources, around)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            variables.set(variable.name.clone(), value);
        }
    }
    for (name, value) in services {
        if variables.get(&name).is_none() {
            variables.set(name, value);
        }
    }
    Ok(variables.entries)
}

/// `None` leaves the variable unset: its source is optional and missing.
fn from_source(
    pod: &Pod,
    container: &Container,
    source: &EnvVarSource,
    sources: &dyn Sources,
    around: &Surroundings<'_>,
) -> Result<Option<String>, ConfigError> {
    if let Some(reference) = &source.field_ref {
        return fields::field(pod, &reference.field_path, around).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return fields::resource(pod, Some(container), reference, around).map(Some);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let optional = reference.optional.unwrap_or(false);
        let Some(map) = sources.config_map(&reference.name) else {
            return if optional { Ok(None) } else { Err(missing("configmap", &reference.name)) };
        };
        return match map.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(value.clone())),
            None if optional => Ok(None),
            None => Err(no_key(&reference.key, "ConfigMap", pod, &reference.name)),
        };
    }
    if let Some(reference) = &source.secret_key_ref {
        let optional = reference.optional.unwrap_or(false);
        let Some(secret) = sources.secret(&reference.name) else {
            return if optional { Ok(None) } else { Err(missing("secret", &reference.name)) };
        };
        return match secret.data.as_ref().and_then(|data| data.get(&reference.key)) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value.0).into_owned())),
            None if optional => Ok(None),
            None => Err(no_key(&reference.key, "Secret", pod, &reference.name)),
        };
    }
    Ok(Some(String::new()))
}

fn missing(kind: &str, name: &str) -> ConfigError {
    ConfigError(format!("{kind} \"{name}\" not found"))
}

fn no_key(key: &str, kind: &str, pod: &Pod, name: &str) -> ConfigError {
    ConfigError(format!("couldn't find key {key} in {kind} {}/{name}", spec::namespace(pod)))
}

#[derive(Default)]
struct Variables {
    entries: Vec<(String, String)>,
    positions: HashMap<String, usize>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        self.positions.get(name).map(|position| self.entries[*position].1.as_str())
    }

    fn set(&mut self, name: String, value: String) {
        match self.positions.get(&name) {
            Some(position) => self.entries[*position].1 = value,
            None => {
                self.positions.insert(name.clone(), self.entries.len());
                self.entries.push((name, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use serde_json::json;

    struct Fixed;

    impl Sources for Fixed {
        fn config_map(&self, name: &str) -> Option<Arc<ConfigMap>> {
            let map = json!({"data": {"color": "blue", "size": "9"}});
            (name == "settings").then(|| Arc::new(serde_json::from_value(map).expect("a config map")))
        }

        fn secret(&self, name: &str) -> Option<Arc<Secret>> {
            let secret = json!({"data": {"password": "aHVudGVyMg=="}});
            (name == "keys").then(|| Arc::new(serde_json::from_value(secret).expect("a secret")))
        }
    }

    fn resolved(container: serde_json::Value) -> Result<Vec<String>, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns"}, "spec": {"containers": [container]}
        }))
        .expect("a pod");
        let allocatable = BTreeMap::new();
        let around = Surroundings { pod_ips: &[], host_ips: &[], allocatable: &allocatable };
        let services = vec![("KUBERNETES_SERVICE_HOST".to_owned(), "10.96.0.1".to_owned())];
        resolve(&pod, &spec::app_containers(&pod)[0], &Fixed, &around, services)
            .map(|variables| variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn values_come_from_every_source_in_order() {
        let container = json!({"name": "c",
        "envFrom": [{"prefix": "CM_", "configMapRef": {"name": "settings"}}, {"secretRef": {"name": "none", "optional": true}}],
        "env": [
            {"name": "PLAIN", "value": "x"},
            {"name": "REF", "value": "$(PLAIN)/$(CM_color)/$(KUBERNETES_SERVICE_HOST)/$(LATER)"},
            {"name": "LATER", "value": "late"},
            {"name": "CM_size", "value": "10"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
            {"name": "OPT", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "none", "optional": true}}},
            {"name": "EMPTY"}
        ]});
        let want = [
            "CM_color=blue",
            "CM_size=10",
            "PLAIN=x",
            "REF=x/blue/10.96.0.1/$(LATER)",
            "LATER=late",
            "NAME=p",
            "PW=hunter2",
            "EMPTY=",
            "KUBERNETES_SERVICE_HOST=10.96.0.1",
        ];
        assert_eq!(resolved(container), Ok(want.map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_is_missing_is_named() {
        let table = [
            (json!({"valueFrom": {"configMapKeyRef": {"name": "none", "key": "k"}}}), "configmap \"none\" not found"),
            (
                json!({"valueFrom": {"configMapKeyRef": {"name": "settings", "key": "k"}}}),
                "couldn't find key k in ConfigMap ns/settings",
            ),
            (json!({"valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}), "secret \"none\" not found"),
            (
                json!({"valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}}),
                "couldn't find key k in Secret ns/keys",
            ),
        ];
        for (mut variable, want) in table {
            variable["name"] = json!("V");
            assert_eq!(resolved(json!({"name": "c", "env": [variable]})), Err(want.to_owned()));
        }
        let from = json!({"name": "c", "envFrom": [{"secretRef": {"name": "none"}}]});
        assert_eq!(resolved(from), Err("secret \"none\" not found".to_owned()));
    }
}
