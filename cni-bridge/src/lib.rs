//! The CNI plugins that a Keelson node needs, in one binary: `bridge`, `host-local` and `loopback`.
//!
//! It speaks CNI 0.3.0 to 1.1.0 (<https://www.cni.dev/docs/spec/>). Which plugin it is follows from the name that it
//! is called by; under any other name, from the `type` in the configuration.
//!
//! It is started once for every pod, so it is built to be done quickly: one thread, no runtime, blocking netlink
//! sockets, one message where one does (a veth pair is made, named, attached and moved in a single request), and
//! host-local addresses are taken without starting another process.

mod bridge;
mod command;
mod host_local;
mod loopback;
mod netlink;
mod netns;
mod nft;
mod protocol;
mod sysctl;

use std::io::{Read, Write};
use std::process::ExitCode;

/// A configuration past this size is refused before it is parsed.
const CONFIGURATION_LIMIT: u64 = 1 << 20;

/// Reads the request from the environment and standard input, answers on standard output.
pub fn main() -> ExitCode {
    let name = std::env::args().next().unwrap_or_default();
    let environment = protocol::Environment::from_process();
    let mut input = Vec::new();
    let read = std::io::stdin().lock().take(CONFIGURATION_LIMIT + 1).read_to_end(&mut input);

    let answer = match read {
        Err(error) => Err(protocol::Error::io(format!("reading the configuration: {error}"))),
        Ok(_) if input.len() as u64 > CONFIGURATION_LIMIT => {
            Err(protocol::Error::decoding(format!("configuration is larger than {CONFIGURATION_LIMIT} bytes")))
        }
        Ok(_) => command::execute(&name, &environment, &input),
    };
    let (text, code) = match answer {
        Ok(text) => (text, ExitCode::SUCCESS),
        Err(error) => (error.to_json(&input), ExitCode::FAILURE),
    };
    // Nobody is left to tell when standard output is closed.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    code
}
