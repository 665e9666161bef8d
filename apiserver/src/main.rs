use std::process::ExitCode;

fn main() -> ExitCode {
    let options: apiserver::Options = keelson_process::configuration::parse();
    let telemetry = options.telemetry.clone();
    keelson_process::main("apiserver", &telemetry, |process| apiserver::run(options, process))
}
