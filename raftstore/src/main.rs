//! The raftstore process.

use std::process::ExitCode;

fn main() -> ExitCode {
    use_small_pages();
    let options: raftstore::Options = keelson_process::configuration::parse();
    let mut telemetry = options.telemetry.clone();
    // What openraft and sled call information is for their developers. A filter of the operator's own is left alone.
    if !telemetry.log_level.contains(['=', ',']) {
        telemetry.log_level.push_str(",openraft=warn,openraft::raft::responder=error,sled=warn");
    }
    keelson_process::main("raftstore", &telemetry, |process| raftstore::run(options, process))
}

/// Databases touch their buffers here and there; with huge pages each touch would keep two megabytes resident.
fn use_small_pages() {
    // SAFETY: the call takes plain numbers and concerns this process alone. If the kernel refuses, memory is larger.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}
