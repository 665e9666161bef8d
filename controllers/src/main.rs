//! The controllers process.

use std::process::ExitCode;

use keelson_process::allocator;

#[global_allocator]
static ALLOCATOR: allocator::Fast = allocator::Fast;

fn main() -> ExitCode {
    allocator::give_memory_back_early();
    let options: controllers::Options = keelson_process::configuration::parse();
    let telemetry = options.telemetry.clone();
    keelson_process::main("controllers", &telemetry, |process| controllers::run(options, process))
}
