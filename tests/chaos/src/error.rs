//! Why a run cannot go on: something is wrong with the machine or with the suite, not with the store.

use std::fmt::Display;

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Error(String);

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn tried(what: &str, on: impl Display, error: impl Display) -> Self {
        Self(format!("cannot {what} {on}: {error}"))
    }
}
