//! The controllers process.

use std::process::ExitCode;

use keelson_process::allocator;

keelson_process::fast_allocator!(allocator::QUIET);

fn main() -> ExitCode {
    let options: controllers::Options = keelson_process::configuration::parse();
    let telemetry = options.telemetry.clone();
    keelson_process::main("controllers", &telemetry, |process| controllers::run(options, process))
}
