//! The raftstore process.

use std::process::ExitCode;

use keelson_process::allocator;

#[global_allocator]
static ALLOCATOR: allocator::Fast = allocator::Fast;

fn main() -> ExitCode {
    raftstore::process()
}
