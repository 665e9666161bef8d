//! The scheduler's process.

use std::process::ExitCode;

use keelson_process::allocator;
use scheduler::Options;

keelson_process::fast_allocator!(allocator::QUIET);

fn main() -> ExitCode {
    let options: Options = keelson_process::configuration::parse();
    let telemetry = options.telemetry.clone();
    keelson_process::main("scheduler", &telemetry, |process| scheduler::run(options, process))
}
