//! Kubeconfig files, as far as a component needs them: the current context's server and client certificate.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::ClientOptions;

#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a kubeconfig: {message}")]
    Form { path: PathBuf, message: String },
    #[error("{path} names no {what} {name:?}")]
    Missing { path: PathBuf, what: &'static str, name: String },
    #[error("{path}: {field} is not base64: {source}")]
    Encoding { path: PathBuf, field: &'static str, source: base64::DecodeError },
}

#[derive(Debug, Deserialize)]
struct File {
    #[serde(default, rename = "current-context")]
    current_context: String,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Deserialize)]
struct Context {
    cluster: String,
    #[serde(default)]
    user: String,
}

/// The current context of a kubeconfig, its files read.
#[derive(Clone, Debug, Default)]
pub struct Kubeconfig {
    /// Several servers, separated by commas in `server`, are equal doors of one cluster.
    pub servers: Vec<String>,
    pub ca: Option<Vec<u8>>,
    pub certificate: Option<Vec<u8>>,
    pub key: Option<Vec<u8>>,
}

impl Kubeconfig {
    /// Reads the file and the files that it names, relative to its own place.
    pub fn read(path: impl AsRef<Path>) -> Result<Kubeconfig, KubeconfigError> {
        let path = path.as_ref();
        let text = read_file(path)?;
        let form = |message: String| KubeconfigError::Form { path: path.to_owned(), message };
        let file: File = serde_yaml_ng::from_slice(&text).map_err(|error| form(error.to_string()))?;
        let missing = |what: &'static str, name: &str| KubeconfigError::Missing {
            path: path.to_owned(),
            what,
            name: name.to_owned(),
        };
        let context = file
            .contexts
            .iter()
            .find(|context| context.name == file.current_context)
            .ok_or_else(|| missing("context", &file.current_context))?;
        let cluster = file
            .clusters
            .iter()
            .find(|cluster| cluster.name == context.context.cluster)
            .ok_or_else(|| missing("cluster", &context.context.cluster))?;
        let user = file.users.iter().find(|user| user.name == context.context.user);
        if user.is_none() && !context.context.user.is_empty() {
            return Err(missing("user", &context.context.user));
        }
        let none = User::default();
        let user = user.map_or(&none, |user| &user.user);
        let cluster = &cluster.cluster;
        let material = |field, data: &Option<String>, file: &Option<PathBuf>| material(path, field, data, file);
        Ok(Kubeconfig {
            servers: cluster.server.split(',').map(|server| server.trim().to_owned()).collect(),
            ca: material(
                "certificate-authority-data",
                &cluster.certificate_authority_data,
                &cluster.certificate_authority,
            )?,
            certificate: material("client-certificate-data", &user.client_certificate_data, &user.client_certificate)?,
            key: material("client-key-data", &user.client_key_data, &user.client_key)?,
        })
    }

    pub fn into_options(self, user_agent: impl Into<String>) -> ClientOptions {
        ClientOptions {
            endpoints: self.servers,
            ca: self.ca,
            certificate: self.certificate,
            key: self.key,
            user_agent: user_agent.into(),
        }
    }
}

fn material(
    kubeconfig: &Path,
    field: &'static str,
    data: &Option<String>,
    file: &Option<PathBuf>,
) -> Result<Option<Vec<u8>>, KubeconfigError> {
    if let Some(data) = data.as_deref().filter(|data| !data.is_empty()) {
        let encoding = |source| KubeconfigError::Encoding { path: kubeconfig.to_owned(), field, source };
        return STANDARD.decode(data.trim()).map(Some).map_err(encoding);
    }
    let Some(file) = file else { return Ok(None) };
    let directory = kubeconfig.parent().unwrap_or(Path::new("."));
    read_file(&directory.join(file)).map(Some)
}

fn read_file(path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    std::fs::read(path).map_err(|source| KubeconfigError::Read { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubeconfig");
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn the_current_context_is_read_with_its_files() {
        let (directory, path) = written(
            "apiVersion: v1\nkind: Config\ncurrent-context: b\ncontexts:\n- name: b\n  context: {cluster: c, user: u}\nclusters:\n- name: c\n  cluster: {server: 'https://h1:6444, https://h2:6444', certificate-authority: ca.crt}\nusers:\n- name: u\n  user: {client-certificate-data: Y2VydA==, client-key-data: a2V5}\n",
        );
        std::fs::write(directory.path().join("ca.crt"), "ca").unwrap();
        let config = Kubeconfig::read(&path).unwrap();
        assert_eq!(config.servers, ["https://h1:6444", "https://h2:6444"]);
        assert_eq!(config.ca.as_deref(), Some(&b"ca"[..]));
        assert_eq!(config.certificate.as_deref(), Some(&b"cert"[..]));
        assert_eq!(config.key.as_deref(), Some(&b"key"[..]));
    }

    #[test]
    fn what_is_missing_is_named() {
        let (_directory, path) = written("current-context: x\n");
        let error = Kubeconfig::read(&path).unwrap_err().to_string();
        assert!(error.ends_with("names no context \"x\""), "{error}");
    }
}
