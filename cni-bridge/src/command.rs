//! Which plugin and which command a call means.

use std::path::Path;

use serde_json::json;

use crate::protocol::version::{self, SUPPORTED};
use crate::protocol::{Command, Environment, Error, NetworkConfig, Request};
use crate::{bridge, host_local, loopback};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plugin {
    Bridge,
    HostLocal,
    Loopback,
}

fn named(name: &str) -> Option<Plugin> {
    match name {
        "bridge" => Some(Plugin::Bridge),
        "host-local" => Some(Plugin::HostLocal),
        "loopback" => Some(Plugin::Loopback),
        _ => None,
    }
}

/// Runs one call. `program` is `argv[0]`.
pub fn execute(program: &str, environment: &Environment, input: &[u8]) -> Result<String, Error> {
    let command = environment.command()?;
    if command == Command::Version {
        return Ok(json!({ "cniVersion": version::reported(input), "supportedVersions": SUPPORTED }).to_string());
    }

    let config: NetworkConfig = serde_json::from_slice(input)
        .map_err(|error| Error::decoding(format!("parsing the configuration: {error}")))?;
    version::require_supported(&config.cni_version)?;

    let program = Path::new(program).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let plugin = named(program).or_else(|| named(&config.kind)).ok_or_else(|| {
        Error::config(format!("plugin type {:?} is not one of bridge, host-local, loopback", config.kind))
    })?;

    let request = Request::new(command, environment, config, input)?;
    let result = match (plugin, command) {
        (_, Command::Version) => None,
        (Plugin::Bridge, Command::Add) => Some(bridge::add(&request)?),
        (Plugin::Bridge, Command::Del) => bridge::del(&request).map(|()| None)?,
        (Plugin::Bridge, Command::Check) => bridge::check(&request).map(|()| None)?,
        (Plugin::Bridge, Command::Gc) => bridge::gc(&request).map(|()| None)?,
        (Plugin::Bridge, Command::Status) => bridge::status(&request).map(|()| None)?,
        (Plugin::HostLocal, Command::Add) => Some(host_local::add(&request)?),
        (Plugin::HostLocal, Command::Del) => host_local::del(&request).map(|()| None)?,
        (Plugin::HostLocal, Command::Check) => host_local::check(&request).map(|()| None)?,
        (Plugin::HostLocal, Command::Gc) => host_local::gc(&request).map(|()| None)?,
        (Plugin::HostLocal, Command::Status) => host_local::status(&request).map(|()| None)?,
        (Plugin::Loopback, Command::Add) => Some(loopback::add(&request)?),
        (Plugin::Loopback, Command::Del) => loopback::del(&request).map(|()| None)?,
        (Plugin::Loopback, Command::Check) => loopback::check(&request).map(|()| None)?,
        (Plugin::Loopback, Command::Gc | Command::Status) => None,
    };
    Ok(result.map(|result| result.to_json(&request.config.cni_version)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(command: &str) -> Environment {
        Environment { command: command.into(), ..Environment::default() }
    }

    #[test]
    fn version_needs_no_configuration_of_a_network() {
        let answer = execute("bridge", &environment("VERSION"), br#"{"cniVersion":"0.4.0"}"#).expect("VERSION");
        let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer["cniVersion"], "0.4.0");
        assert!(answer["supportedVersions"].as_array().is_some_and(|all| all.contains(&"1.1.0".into())));
    }

    #[test]
    fn bad_calls_answer_with_the_code_of_the_specification() {
        let table: &[(&str, &str, &[u8], u32)] = &[
            ("bridge", "FLY", b"{}", 4),
            ("bridge", "", b"{}", 4),
            ("bridge", "ADD", b"{", 6),
            ("bridge", "ADD", br#"{"cniVersion":"9.0.0","name":"n","type":"bridge"}"#, 1),
            ("bridge", "ADD", br#"{"name":"n","type":"bridge"}"#, 1),
            ("cni-bridge", "ADD", br#"{"cniVersion":"1.0.0","name":"n","type":"what"}"#, 7),
            // No container id.
            ("bridge", "ADD", br#"{"cniVersion":"1.0.0","name":"n","type":"bridge"}"#, 4),
        ];
        for (program, command, input, code) in table {
            let error = execute(program, &environment(command), input).expect_err("a bad call");
            assert_eq!(error.code, *code, "{program} {command}: {error}");
        }
    }
}
