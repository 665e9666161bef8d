//! Running a plugin: environment, configuration on its standard input, result or error on its standard output.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Error;

const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Results past this size are cut, and so invalid.
const OUTPUT_LIMIT: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
}

impl Command {
    pub fn name(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Gc => "GC",
            Command::Status => "STATUS",
        }
    }
}

/// The CNI_* variables of one call.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub command: Command,
    pub container_id: String,
    pub netns: String,
    pub interface: String,
    pub args: String,
}

impl Invocation {
    /// Calls that concern no container.
    pub fn of_network(command: Command) -> Self {
        Invocation {
            command,
            container_id: String::new(),
            netns: String::new(),
            interface: String::new(),
            args: String::new(),
        }
    }
}

pub struct Plugins {
    directories: Vec<PathBuf>,
    path: String,
}

impl Plugins {
    pub fn new(directories: Vec<PathBuf>) -> Self {
        let texts: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
        Plugins { directories, path: texts.join(":") }
    }

    pub fn find(&self, kind: &str) -> Result<PathBuf, Error> {
        self.directories
            .iter()
            .map(|directory| directory.join(kind))
            .find(|path| path.is_file())
            .ok_or_else(|| Error::PluginNotFound { plugin: kind.to_string(), path: self.path.clone() })
    }

    /// The result, where the plugin printed one.
    pub async fn run(&self, kind: &str, invocation: &Invocation, config: &Value) -> Result<Option<Value>, Error> {
        let command = invocation.command.name();
        let limited = tokio::time::timeout(TIME_LIMIT, self.execute(kind, invocation, config)).await;
        let (success, output) = limited.map_err(|_| Error::Timeout {
            plugin: kind.to_string(),
            command,
            seconds: TIME_LIMIT.as_secs(),
        })??;
        if success {
            if output.iter().all(u8::is_ascii_whitespace) {
                return Ok(None);
            }
            return serde_json::from_slice(&output)
                .map(Some)
                .map_err(|error| Error::InvalidResult { what: format!("of plugin {kind}: {error}") });
        }
        Err(error_of(kind, command, &output))
    }

    async fn execute(&self, kind: &str, invocation: &Invocation, config: &Value) -> Result<(bool, Vec<u8>), Error> {
        let path = self.find(kind)?;
        let mut child = tokio::process::Command::new(&path)
            .env("CNI_COMMAND", invocation.command.name())
            .env("CNI_CONTAINERID", &invocation.container_id)
            .env("CNI_NETNS", &invocation.netns)
            .env("CNI_IFNAME", &invocation.interface)
            .env("CNI_ARGS", &invocation.args)
            .env("CNI_PATH", &self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("starting", &path))?;
        let missing = || std::io::Error::other("no pipe");
        let mut stdin = child.stdin.take().ok_or_else(missing).map_err(Error::io("writing to", &path))?;
        let stdout = child.stdout.take().ok_or_else(missing).map_err(Error::io("reading from", &path))?;

        let input = config.to_string();
        let write = async move {
            // A plugin may answer without having read all of it.
            let _ = stdin.write_all(input.as_bytes()).await;
        };
        let read = async move {
            let mut output = Vec::new();
            stdout.take(OUTPUT_LIMIT).read_to_end(&mut output).await.map(|_| output)
        };
        let ((), output) = tokio::join!(write, read);
        let output = output.map_err(Error::io("reading from", &path))?;
        let status = child.wait().await.map_err(Error::io("waiting for", &path))?;
        Ok((status.success(), output))
    }
}

fn error_of(kind: &str, command: &'static str, output: &[u8]) -> Error {
    let printed: Value = serde_json::from_slice(output).unwrap_or_default();
    let text = |key: &str| printed.get(key).and_then(Value::as_str).unwrap_or_default();
    let message = match (text("msg"), text("details")) {
        ("", _) => "netplugin failed with no error message".to_string(),
        (message, "") => message.to_string(),
        (message, details) => format!("{message}; {details}"),
    };
    let code = printed.get("code").and_then(Value::as_u64).unwrap_or_default();
    Error::Plugin { plugin: kind.to_string(), command, code, message }
}
