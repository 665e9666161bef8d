//! Errors for a person at a terminal: what went wrong, and what to do next.

use std::fmt::{Display, Formatter};
use std::path::Path;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug)]
pub struct Error {
    what: String,
    hint: Option<String>,
}

impl Error {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `cannot <verb> <path>: <why>`.
    pub fn file(verb: &str, path: &Path, error: std::io::Error) -> Self {
        let permission = error.kind() == std::io::ErrorKind::PermissionDenied;
        let this = Self::new(format!("cannot {verb} {}: {error}", path.display()));
        if permission { this.hint("run the command as root, for example with sudo") } else { this }
    }

    /// Anything else that was tried.
    pub fn tried(what: impl Display, error: impl Display) -> Self {
        Self::new(format!("cannot {what}: {error}"))
    }
}

impl Display for Error {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.what)?;
        if let Some(hint) = &self.hint {
            write!(formatter, "\n  what to do: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
