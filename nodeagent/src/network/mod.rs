//! The pod network: CNI plugins run by the specification (<https://www.cni.dev/docs/spec/>), whoever made them.
//!
//! [`Network`] reads the first configuration of the configuration directory, runs its plugins in order for ADD (each
//! gets the result of the one before) and in reverse for DEL, and keeps what it ran with in files, so that DEL and
//! CHECK see the configuration and the result of their ADD even after a restart or an edited configuration.

mod attachments;
mod config;
mod error;
mod namespace;
mod plugin;

use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tracing::{debug, warn};

pub use error::Error;
pub use namespace::NetworkNamespaces;

use attachments::{Attachment, Attachments};
use config::{NetworkList, Plugin};
use plugin::{Command, Invocation, Plugins};

/// The pod's interface.
pub const INTERFACE: &str = "eth0";

#[derive(Clone, Debug)]
pub struct Options {
    pub conf_dir: PathBuf,
    pub bin_dirs: Vec<PathBuf>,
    pub cache_dir: PathBuf,
}

/// One pod to attach.
#[derive(Clone, Debug)]
pub struct Pod<'a> {
    pub sandbox_id: &'a str,
    pub netns: &'a Path,
    pub namespace: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    /// In the form of the `portMappings` capability.
    pub port_mappings: Value,
}

pub struct Network {
    options: Options,
    plugins: Plugins,
    attachments: Attachments,
}

impl Network {
    pub fn new(options: Options) -> Self {
        Network {
            plugins: Plugins::new(options.bin_dirs.clone()),
            attachments: Attachments::new(options.cache_dir.clone()),
            options,
        }
    }

    /// Can an ADD work now? Asks the plugins (STATUS) where they know how to answer.
    pub async fn ready(&self) -> Result<(), Error> {
        let list = NetworkList::first(&self.options.conf_dir)?;
        for plugin in &list.plugins {
            self.plugins.find(&plugin.kind)?;
        }
        if !list.supports("1.1.0") {
            return Ok(());
        }
        for plugin in &list.plugins {
            let config = plugin.request(&list, None, &Value::Null);
            self.plugins.run(&plugin.kind, &Invocation::of_network(Command::Status), &config).await?;
        }
        Ok(())
    }

    /// Attaches; on failure what the plugins did is undone. The pod's addresses, in the order of the result.
    pub async fn add(&self, pod: &Pod<'_>) -> Result<Vec<IpAddr>, Error> {
        let list = NetworkList::first(&self.options.conf_dir)?;
        let mut attachment = Attachment::new(&list, pod);
        // Written first: an ADD cut off by a crash is known to DEL and GC.
        self.attachments.store(&attachment)?;
        match self.add_all(&list, &attachment).await {
            Ok(result) => {
                let addresses = addresses(&result)?;
                attachment.result = Some(result);
                self.attachments.store(&attachment)?;
                Ok(addresses)
            }
            Err(error) => {
                if let Err(undo) = self.delete_all(&list, &attachment).await {
                    warn!(pod = pod.name, namespace = pod.namespace, error = %undo, "cannot undo a failed network setup");
                }
                self.attachments.remove(&attachment.key())?;
                Err(error)
            }
        }
    }

    async fn add_all(&self, list: &NetworkList, attachment: &Attachment) -> Result<Value, Error> {
        let invocation = attachment.invocation(Command::Add);
        let mut result: Option<Value> = None;
        for plugin in &list.plugins {
            let config = plugin.request(list, result.as_ref(), &attachment.capabilities);
            let output = self.plugins.run(&plugin.kind, &invocation, &config).await?;
            result = Some(output.ok_or_else(|| Error::NoResult { plugin: plugin.kind.clone() })?);
        }
        result.ok_or_else(|| Error::NoConfiguration { directory: self.options.conf_dir.clone() })
    }

    /// Detaches with the configuration of the ADD. Nothing known of it: nothing to do.
    pub async fn del(&self, sandbox_id: &str) -> Result<(), Error> {
        for attachment in self.attachments.of_container(sandbox_id)? {
            let list = NetworkList::parse(&attachment.config)?;
            self.delete_all(&list, &attachment).await?;
            self.attachments.remove(&attachment.key())?;
        }
        Ok(())
    }

    async fn delete_all(&self, list: &NetworkList, attachment: &Attachment) -> Result<(), Error> {
        let invocation = attachment.invocation(Command::Del);
        for plugin in list.plugins.iter().rev() {
            let config = plugin.request(list, attachment.result.as_ref(), &attachment.capabilities);
            self.plugins.run(&plugin.kind, &invocation, &config).await?;
        }
        Ok(())
    }

    /// Is the pod's network still as ADD made it? Networks that know no CHECK say yes.
    pub async fn check(&self, sandbox_id: &str) -> Result<(), Error> {
        for attachment in self.attachments.of_container(sandbox_id)? {
            let list = NetworkList::parse(&attachment.config)?;
            if !list.supports("0.4.0") || list.disable_check {
                continue;
            }
            let invocation = attachment.invocation(Command::Check);
            for plugin in &list.plugins {
                let config = plugin.request(&list, attachment.result.as_ref(), &attachment.capabilities);
                self.plugins.run(&plugin.kind, &invocation, &config).await?;
            }
        }
        Ok(())
    }

    /// Addresses of a pod attached earlier, as the result of its ADD has them.
    pub fn addresses(&self, sandbox_id: &str) -> Result<Vec<IpAddr>, Error> {
        for attachment in self.attachments.of_container(sandbox_id)? {
            if let Some(result) = &attachment.result {
                return addresses(result);
            }
        }
        Ok(Vec::new())
    }

    /// Detaches every container that is not among `living`, and lets plugins that know GC drop what only they know of.
    pub async fn collect_garbage(&self, living: &HashSet<String>) -> Result<(), Error> {
        for attachment in self.attachments.all()? {
            if !living.contains(&attachment.container_id) {
                debug!(container = attachment.container_id, "removing a left-over network attachment");
                self.del(&attachment.container_id).await?;
            }
        }
        let list = match NetworkList::first(&self.options.conf_dir) {
            Ok(list) if list.supports("1.1.0") && !list.disable_gc => list,
            _ => return Ok(()),
        };
        let valid: Vec<Value> = self
            .attachments
            .all()?
            .into_iter()
            .map(|attachment| json!({ "containerID": attachment.container_id, "ifname": attachment.interface }))
            .collect();
        for plugin in &list.plugins {
            let config = Plugin::with_valid_attachments(plugin.request(&list, None, &Value::Null), &valid);
            self.plugins.run(&plugin.kind, &Invocation::of_network(Command::Gc), &config).await?;
        }
        Ok(())
    }
}

/// Results of before 0.3.0 had another shape; no configuration of today asks for them.
fn addresses(result: &Value) -> Result<Vec<IpAddr>, Error> {
    let ips = result.get("ips").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut found = Vec::with_capacity(ips.len());
    for ip in ips {
        let text = ip.get("address").and_then(Value::as_str).unwrap_or_default();
        let address = text.split('/').next().unwrap_or_default();
        found.push(address.parse().map_err(|_| Error::InvalidResult { what: format!("{text:?} is not an address") })?);
    }
    if found.is_empty() {
        return Err(Error::InvalidResult { what: "no IP address".into() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
