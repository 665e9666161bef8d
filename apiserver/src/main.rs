use std::process::ExitCode;

use keelson_process::allocator;

keelson_process::fast_allocator!(allocator::BUSY);

fn main() -> ExitCode {
    let options: apiserver::Options = keelson_process::configuration::parse();
    let telemetry = options.telemetry.clone();
    keelson_process::main("apiserver", &telemetry, |process| {
        keelson_process::descriptors::raise_limit();
        apiserver::run(options, process)
    })
}
