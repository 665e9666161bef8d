//! Processes that do not outlive this one, whatever its end.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

/// The process will be killed when the thread ends that starts it (the main one, where it matters), and live in this
/// network, if one is given. The network's file must be open when it starts.
pub fn bind(command: &mut Command, network: Option<&File>) {
    let network = network.map(|network| network.as_raw_fd());
    // SAFETY: between fork and exec only system calls are made; the caller keeps the descriptor open.
    unsafe {
        command.pre_exec(move || {
            if let Some(network) = network {
                setns(BorrowedFd::borrow_raw(network).as_fd(), CloneFlags::CLONE_NEWNET)?;
            }
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        });
    }
}
