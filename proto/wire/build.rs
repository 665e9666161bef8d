//! Compiles every file under proto/ with protox: no protoc is needed.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir("proto")?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(&files, ["proto"])?;
    // Payloads are shared buffers, never copied into a Vec.
    tonic_prost_build::configure().bytes(".").codec_path("crate::codec::FittingCodec").compile_fds(descriptors)?;
    Ok(())
}
