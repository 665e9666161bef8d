//! The raftstore process.

use std::process::ExitCode;

use keelson_process::allocator;

keelson_process::fast_allocator!(allocator::BUSY);

fn main() -> ExitCode {
    raftstore::process()
}
