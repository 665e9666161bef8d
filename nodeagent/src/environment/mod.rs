//! What a container's process is told: environment variables, the downward API, service variables.

pub mod expansion;
pub mod fields;
pub mod services;
pub mod variables;

/// Configuration that cannot be resolved now: `CreateContainerConfigError`, with upstream's text. It is tried again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);
