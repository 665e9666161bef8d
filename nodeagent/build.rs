//! Builds the two helpers that run beside containers (see `pause/`): static programs without a standard library.
//!
//! They are compiled by calling the compiler directly. As workspace members they would need a panic strategy and
//! linker flags that Cargo sets for a whole profile only.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    let variable = |name: &str| env::var(name).unwrap_or_else(|error| panic!("{name}: {error}"));
    let sources = Path::new(&variable("CARGO_MANIFEST_DIR")).join("pause");
    println!("cargo::rerun-if-changed={}", sources.display());

    for helper in ["pause", "logger"] {
        let output = Path::new(&variable("OUT_DIR")).join(helper);
        let mut command = Command::new(variable("RUSTC"));
        command
            .args(["--edition=2024", "--crate-type=bin", "--target", &variable("TARGET")])
            .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Coverflow-checks=off"])
            .args(["-Crelocation-model=static", "-Ctarget-feature=+crt-static"])
            .args(["-Clink-arg=-nostartfiles", "-Clink-arg=-nostdlib", "-Clink-arg=-static"])
            .args(["-Clink-arg=-Wl,--build-id=none", "-Clink-arg=-Wl,-z,noseparate-code"])
            .arg("--crate-name")
            .arg(helper)
            .arg("-o")
            .arg(&output)
            .arg(sources.join(format!("{helper}.rs")));
        if let Ok(linker) = env::var("RUSTC_LINKER") {
            command.arg(format!("-Clinker={linker}"));
        }
        let status = command.status().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        assert!(status.success(), "{helper} does not build");
    }
}
