//! CNI's error: a code of the specification, and a text.

use serde_json::json;

use super::version;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub code: u32,
    pub message: String,
    pub details: String,
}

impl Error {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Error { code, message: message.into(), details: String::new() }
    }

    pub fn incompatible_version(asked: &str) -> Self {
        let mut error = Error::new(1, "incompatible CNI versions");
        error.details = format!("config is {asked:?}, plugin supports {:?}", version::SUPPORTED);
        error
    }

    pub fn unsupported_field(message: impl Into<String>) -> Self {
        Error::new(2, message)
    }

    pub fn environment(message: impl Into<String>) -> Self {
        Error::new(4, message)
    }

    pub fn io(message: impl Into<String>) -> Self {
        Error::new(5, message)
    }

    pub fn decoding(message: impl Into<String>) -> Self {
        Error::new(6, message)
    }

    pub fn config(message: impl Into<String>) -> Self {
        Error::new(7, message)
    }

    /// STATUS: this plugin cannot serve an ADD now.
    pub fn not_available(message: impl Into<String>) -> Self {
        Error::new(50, message)
    }

    /// Plugin-specific; the specification leaves codes from 100 on to plugins.
    pub fn failed(message: impl Into<String>) -> Self {
        Error::new(100, message)
    }

    /// The kernel refused.
    pub fn netlink(message: impl Into<String>) -> Self {
        Error::new(101, message)
    }

    /// CHECK found the container's network changed.
    pub fn check(message: impl Into<String>) -> Self {
        Error::new(102, message)
    }

    /// The ranges are exhausted.
    pub fn no_addresses(message: impl Into<String>) -> Self {
        Error::new(103, message)
    }

    /// An error that a delegated plugin printed.
    pub fn delegated(plugin: &str, output: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Printed {
            code: u32,
            msg: String,
            #[serde(default)]
            details: String,
        }
        match serde_json::from_slice::<Printed>(output) {
            Ok(printed) => Error { code: printed.code, message: printed.msg, details: printed.details },
            Err(_) => Error::failed(format!("plugin {plugin} failed without an error result")),
        }
    }

    /// In the version that the configuration asks for, as far as it can be read.
    pub fn to_json(&self, input: &[u8]) -> String {
        let mut answer = json!({ "cniVersion": version::reported(input), "code": self.code, "msg": self.message });
        if !self.details.is_empty() {
            answer["details"] = self.details.clone().into();
        }
        answer.to_string()
    }
}
