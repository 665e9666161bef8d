//! Versions of the specification.

use super::Error;

pub const SUPPORTED: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

pub fn require_supported(asked: &str) -> Result<(), Error> {
    if SUPPORTED.contains(&asked) { Ok(()) } else { Err(Error::incompatible_version(asked)) }
}

/// The version to answer in: the one asked for where it is one of ours, the newest otherwise.
pub fn reported(input: &[u8]) -> &'static str {
    #[derive(serde::Deserialize)]
    struct Asked {
        #[serde(rename = "cniVersion")]
        version: String,
    }
    let newest = SUPPORTED[SUPPORTED.len() - 1];
    let Ok(asked) = serde_json::from_slice::<Asked>(input) else { return newest };
    SUPPORTED.into_iter().find(|version| *version == asked.version).unwrap_or(newest)
}
