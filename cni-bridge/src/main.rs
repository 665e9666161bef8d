use std::process::ExitCode;

fn main() -> ExitCode {
    cni_bridge::main()
}
