//! The raftstore process.

use std::process::ExitCode;

use keelson_process::allocator;

#[global_allocator]
static ALLOCATOR: allocator::Fast = allocator::Fast;

fn main() -> ExitCode {
    let options: raftstore::Options = keelson_process::configuration::parse();
    let mut telemetry = options.telemetry.clone();
    // What openraft and sled call information is for their developers. A filter of the operator's own is left alone.
    if !telemetry.log_level.contains(['=', ',']) {
        telemetry.log_level.push_str(",openraft=warn,openraft::raft::responder=error,sled=warn");
    }
    keelson_process::main("raftstore", &telemetry, |process| raftstore::run(options, process))
}
