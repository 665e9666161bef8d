//! What can go wrong with the pod network.

use std::io;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Worded as upstream does: people search for it.
    #[error("no networks found in {}", directory.display())]
    NoConfiguration { directory: PathBuf },
    #[error("network configuration: {0}")]
    InvalidConfiguration(String),
    #[error("failed to find plugin {plugin:?} in path [{path}]")]
    PluginNotFound { plugin: String, path: String },
    /// The plugin's own error result.
    #[error("plugin type={plugin:?} failed ({command}): {message}")]
    Plugin { plugin: String, command: &'static str, code: u64, message: String },
    #[error("plugin type={plugin:?} failed ({command}): no answer within {seconds} s")]
    Timeout { plugin: String, command: &'static str, seconds: u64 },
    #[error("plugin type={plugin:?} printed no result")]
    NoResult { plugin: String },
    #[error("network result: {what}")]
    InvalidResult { what: String },
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }
}
