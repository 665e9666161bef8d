//! The real kubectl, by the API server under test.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::api_server::ApiServer;
use crate::{Error, Result};

#[derive(Clone)]
pub struct Kubectl {
    program: PathBuf,
    cache: PathBuf,
    namespace: String,
}

impl Kubectl {
    pub fn new(program: &Path, directory: &Path) -> Self {
        Self { program: program.to_owned(), cache: directory.join("kubectl"), namespace: "default".to_owned() }
    }

    pub fn within(&self, namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), ..self.clone() }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(ApiServer::way_in())
            .arg(format!("--cache-dir={}", self.cache.display()))
            .arg(format!("--namespace={}", self.namespace))
            .args(words)
            // Nobody's configuration.
            .env("KUBECONFIG", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// A kubectl that runs on.
    pub fn start(&self, words: &[&str]) -> Result<Child> {
        self.command(words).spawn().map_err(|error| Error::tried("run", self.program.display(), error))
    }

    /// What it prints, or what it says is wrong.
    pub fn attempt(&self, words: &[&str], input: &str) -> Result<std::result::Result<String, String>> {
        let mut child = self.start(words)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read to the end says why itself.
            let _ = stdin.write_all(input.as_bytes());
        }
        let Output { status, stdout, stderr } =
            child.wait_with_output().map_err(|error| Error::tried("wait for", "kubectl", error))?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim().to_owned();
        Ok(if status.success() { Ok(text(stdout)) } else { Err(text(stderr)) })
    }

    /// Must succeed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        self.fed(words, "")
    }

    /// Must succeed, with this for its standard input.
    pub fn fed(&self, words: &[&str], input: &str) -> Result<String> {
        self.attempt(words, input)?.map_err(|told| Error::new(format!("kubectl {}: {told}", words.join(" "))))
    }

    /// The names of the configmaps that are there.
    pub fn names(&self) -> Result<BTreeSet<String>> {
        let names = self.run(&["get", "configmaps", "--output=name"])?;
        Ok(names.lines().map(|name| name.trim_start_matches("configmap/").to_owned()).collect())
    }
}
