//! A cluster under test: made by the `keelson` command in a directory of its own, purged at the end.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Kubectl, Output, Result, run};

/// How the nodes of a cluster under test stand in the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The machine is the node: only for a [machine of the test's own](super::on_a_machine_of_its_own).
    Host,
    /// Each node has a namespace, so that nothing of the machine's own network is touched.
    Namespaces,
}

/// What kind of cluster a test wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub nodes: u8,
    pub members: u8,
    pub network: Network,
}

pub struct Cluster {
    root: PathBuf,
    keelson: PathBuf,
    purged: bool,
}

impl Cluster {
    /// A place for a cluster; nothing runs yet.
    pub fn at(root: &Path) -> Result<Self> {
        let this = std::env::current_exe()?;
        let keelson = this.parent().ok_or("the test binary lies in a directory")?.join("keelson");
        if !keelson.exists() {
            return Err(format!("{} is not built: run deploy/test", keelson.display()).into());
        }
        Ok(Self { root: root.to_owned(), keelson, purged: false })
    }

    /// `keelson up`.
    pub fn up(&self, shape: Shape, flags: &[String]) -> Result<Output> {
        let mut arguments = vec![
            format!("--nodes={}", shape.nodes),
            format!("--members={}", shape.members),
            match shape.network {
                Network::Host => "--network=host".to_owned(),
                Network::Namespaces => "--network=namespaces".to_owned(),
            },
        ];
        arguments.extend(flags.iter().map(|flag| format!("--flag={flag}")));
        self.keelson("up", &arguments)
    }

    /// Runs a keelson subcommand and demands success.
    pub fn keelson(&self, action: &str, arguments: &[String]) -> Result<Output> {
        let mut words = vec![action.to_owned(), "--root".to_owned(), self.root.display().to_string()];
        words.extend_from_slice(arguments);
        let output = run(&self.keelson, &words, None)?;
        if output.succeeded() {
            return Ok(output);
        }
        Err(format!("keelson {action} {arguments:?} failed:\n{}{}", output.stdout, output.stderr).into())
    }

    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::find(&self.configuration().join("admin.kubeconfig"))
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn configuration(&self) -> PathBuf {
        self.root.join("etc/keelson")
    }

    /// The number that tells this cluster's links, namespaces and addresses from others'.
    pub fn slot(&self) -> Result<u64> {
        let cluster: Value = serde_json::from_slice(&std::fs::read(self.configuration().join("cluster.json"))?)?;
        cluster["slot"].as_u64().ok_or_else(|| "cluster.json names no slot".into())
    }

    /// The machine's address on the bridge of the nodes.
    pub fn gateway(&self) -> Result<String> {
        Ok(format!("172.29.{}.1", self.slot()?))
    }

    /// The pid of a supervised process as it runs now.
    pub fn pid_of(&self, process: &str) -> Result<i32> {
        let record = self.root.join("run/keelson/processes").join(format!("{process}.json"));
        let record: Value = serde_json::from_slice(&std::fs::read(record)?)?;
        let pid = record["pid"].as_i64().ok_or("a process record has a pid")?;
        Ok(i32::try_from(pid)?)
    }

    /// The names of all supervised processes.
    pub fn processes(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.root.join("run/keelson/processes"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(name) = name.strip_suffix(".json") {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The last lines of every log, for a failure's report.
    pub fn log_tails(&self) -> String {
        let mut text = String::new();
        for entry in std::fs::read_dir(self.root.join("var/log/keelson")).into_iter().flatten().flatten() {
            let log = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            text.push_str(&format!("--- {}\n{tail}\n", entry.path().display()));
        }
        text
    }

    /// Leaves the cluster as it is at the end.
    pub fn keep(&mut self) {
        self.purged = true;
    }

    /// `keelson down --purge`.
    pub fn purge(&mut self) -> Result<Output> {
        self.purged = true;
        self.keelson("down", &["--purge".to_owned()])
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.purged
            && let Err(error) = self.purge()
        {
            eprintln!("{error}");
        }
    }
}
