//! The raftstore process with points to be killed at and bugs to be found: for tests, and for nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    raftstore::process()
}
