use std::process::ExitCode;

use keelson_process::{allocator, configuration};
use nodeagent::{Options, kubelet_configuration};

fn main() -> ExitCode {
    allocator::one_heap();
    let arguments = match kubelet_configuration::expand(std::env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("nodeagent: {error}");
            return ExitCode::FAILURE;
        }
    };
    let options: Options = match configuration::parse_from(arguments) {
        Ok(options) => options,
        Err(error) => error.exit(),
    };
    let telemetry = options.telemetry.clone();
    keelson_process::main("nodeagent", &telemetry, |process| nodeagent::run(options, process))
}
