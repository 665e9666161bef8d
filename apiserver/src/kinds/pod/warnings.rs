//! What is allowed in a pod and yet most likely not meant: texts for the Warning header.

use std::collections::HashSet;

use serde_json::Value;

use crate::kinds::fields::Fields;
use crate::kinds::validation::Path;

pub fn of_spec(spec: &Value, path: &Path) -> Vec<String> {
    let mut warnings = Vec::new();
    for key in ["beta.kubernetes.io/arch", "beta.kubernetes.io/os"] {
        if spec.sub("nodeSelector").present(key) {
            let instead = key.trim_start_matches("beta.");
            let at = path.child("nodeSelector");
            warnings.push(format!("{}: deprecated since v1.14; use \"{instead}\" instead", at.key(key)));
        }
    }
    for list in ["initContainers", "containers"] {
        let list_path = path.child(list);
        for (index, container) in spec.items(list).iter().enumerate() {
            let path = list_path.index(index);
            hidden_variables(container, &path, &mut warnings);
            duplicate_ports(container, &path, &mut warnings);
        }
    }
    let secrets = path.child("imagePullSecrets");
    for (index, secret) in spec.items("imagePullSecrets").iter().enumerate() {
        if secret.text("name").is_empty() {
            warnings.push(format!("{}: invalid empty name \"\"", secrets.index(index)));
        }
    }
    warnings
}

/// A variable that is defined twice: merging by name keeps one only.
fn hidden_variables(container: &Value, path: &Path, warnings: &mut Vec<String>) {
    let mut seen: HashSet<&str> = HashSet::new();
    let env = path.child("env");
    for (index, variable) in container.items("env").iter().enumerate() {
        let name = variable.text("name");
        let refers_to_itself = variable.text("value").contains(&format!("$({name})"));
        if !seen.insert(name) && !refers_to_itself {
            warnings.push(format!(
                "{}: hides previous definition of \"{name}\", which may be dropped when using apply",
                env.index(index)
            ));
        }
    }
}

fn duplicate_ports(container: &Value, path: &Path, warnings: &mut Vec<String>) {
    let ports = path.child("ports");
    let items = container.items("ports");
    for (index, port) in items.iter().enumerate() {
        let key = |port: &Value| (port.int("containerPort"), port.text("protocol").to_owned(), port.int("hostPort"));
        if let Some(first) = items[..index].iter().position(|earlier| key(earlier) == key(port)) {
            warnings.push(format!("{}: duplicate port definition with {}", ports.index(index), ports.index(first)));
        }
    }
}
