//! The raftstore process.

use std::process::ExitCode;

fn main() -> ExitCode {
    let options: raftstore::Options = keelson_process::configuration::parse();
    let telemetry = options.telemetry.clone();
    keelson_process::main("raftstore", &telemetry, |process| raftstore::run(options, process))
}
