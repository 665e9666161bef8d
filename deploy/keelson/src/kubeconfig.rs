//! kubeconfig files: for people with keys inside, for components with the paths of keys.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::layout::Layout;

/// Writes the kubeconfig `<name>.kubeconfig` of an identity for the API server at `server`. With `embedded` it holds
/// the keys, so that a person can carry it elsewhere.
pub fn write(layout: &Layout, name: &str, server: &str, embedded: bool) -> Result<()> {
    let (ca, certificate, key) =
        (layout.pki_file("ca", "crt"), layout.pki_file(name, "crt"), layout.pki_file(name, "key"));
    let (cluster, user) = if embedded {
        let data = |path: &Path| match std::fs::read(path) {
            Ok(content) => Ok(STANDARD.encode(content)),
            Err(error) => Err(Error::file("read", path, error)),
        };
        (
            json!({ "server": server, "certificate-authority-data": data(&ca)? }),
            json!({ "client-certificate-data": data(&certificate)?, "client-key-data": data(&key)? }),
        )
    } else {
        (
            json!({ "server": server, "certificate-authority": ca }),
            json!({ "client-certificate": certificate, "client-key": key }),
        )
    };
    let configuration: Value = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "keelson", "cluster": cluster }],
        "users": [{ "name": name, "user": user }],
        "contexts": [{ "name": format!("{name}@keelson"), "context": { "cluster": "keelson", "user": name } }],
        "current-context": format!("{name}@keelson"),
    });
    let text = serde_yaml_ng::to_string(&configuration).expect("a kubeconfig is always YAML");
    crate::files::write(&layout.kubeconfig(name), text.as_bytes(), 0o600)
}
