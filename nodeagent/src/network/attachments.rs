//! What each pod was attached with, in one file an attachment: DEL and CHECK need the configuration and the result of
//! their ADD, whatever has changed since.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::config::NetworkList;
use super::plugin::{Command, Invocation};
use super::{Error, INTERFACE, Pod};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    pub network: String,
    pub container_id: String,
    pub interface: String,
    pub netns: String,
    pub args: String,
    pub config: Value,
    pub capabilities: Value,
    /// `None` while ADD runs.
    pub result: Option<Value>,
}

impl Attachment {
    pub fn new(list: &NetworkList, pod: &Pod<'_>) -> Self {
        Attachment {
            network: list.name.clone(),
            container_id: pod.sandbox_id.to_string(),
            interface: INTERFACE.to_string(),
            netns: pod.netns.display().to_string(),
            // The names that plugins know from upstream's runtimes.
            args: format!(
                "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
                pod.namespace, pod.name, pod.sandbox_id, pod.uid
            ),
            config: list.source.clone(),
            capabilities: json!({ "portMappings": pod.port_mappings }),
            result: None,
        }
    }

    pub fn invocation(&self, command: Command) -> Invocation {
        Invocation {
            command,
            container_id: self.container_id.clone(),
            netns: self.netns.clone(),
            interface: self.interface.clone(),
            args: self.args.clone(),
        }
    }

    pub fn key(&self) -> String {
        format!("{}@{}@{}", self.container_id, self.network, self.interface)
    }
}

pub struct Attachments {
    directory: PathBuf,
}

impl Attachments {
    pub fn new(directory: PathBuf) -> Self {
        Attachments { directory }
    }

    /// Replaces in one step.
    pub fn store(&self, attachment: &Attachment) -> Result<(), Error> {
        fs::create_dir_all(&self.directory).map_err(Error::io("creating", &self.directory))?;
        let path = self.directory.join(attachment.key());
        let staged = self.directory.join(format!(".{}", attachment.key()));
        fs::write(&staged, json!(attachment).to_string()).map_err(Error::io("writing", &staged))?;
        fs::rename(&staged, &path).map_err(Error::io("renaming", &staged))
    }

    pub fn remove(&self, key: &str) -> Result<(), Error> {
        let path = self.directory.join(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing", path)(error)),
            _ => Ok(()),
        }
    }

    pub fn of_container(&self, container_id: &str) -> Result<Vec<Attachment>, Error> {
        let prefix = format!("{container_id}@");
        self.read(|name| name.starts_with(&prefix))
    }

    pub fn all(&self) -> Result<Vec<Attachment>, Error> {
        self.read(|_| true)
    }

    fn read(&self, chosen: impl Fn(&str) -> bool) -> Result<Vec<Attachment>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::io("listing", &self.directory)(error)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(Error::io("listing", &self.directory))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') || !chosen(&name) {
                continue;
            }
            let path = entry.path();
            let text = match fs::read(&path) {
                // Removed while we listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                outcome => outcome.map_err(Error::io("reading", &path))?,
            };
            match serde_json::from_slice(&text) {
                Ok(attachment) => found.push(attachment),
                Err(error) => tracing::warn!(path = %path.display(), %error, "not a network attachment"),
            }
        }
        Ok(found)
    }
}
