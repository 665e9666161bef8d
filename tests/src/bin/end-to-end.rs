//! The end-to-end tests: a cluster of three nodes and three store members, a registry, and kubectl.
//!
//!     end-to-end [WORD ...]     runs the scenarios whose names contain a word; all without one

use std::process::ExitCode;

use keelson_tests::harness::run_all;
use keelson_tests::scenarios::{World, all};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut world = match World::prepare() {
        Ok(world) => world,
        Err(error) => {
            eprintln!("cannot prepare the tests: {error}");
            return ExitCode::FAILURE;
        }
    };
    run_all(&mut world, &all(), &words, World::report)
}
