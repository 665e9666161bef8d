//! The scheduler's process.

use std::process::ExitCode;

use keelson_process::allocator;
use scheduler::Options;

#[global_allocator]
static ALLOCATOR: allocator::Fast = allocator::Fast;

fn main() -> ExitCode {
    allocator::give_memory_back_early();
    let options: Options = keelson_process::configuration::parse();
    let telemetry = options.telemetry.clone();
    keelson_process::main("scheduler", &telemetry, |process| scheduler::run(options, process))
}
