//! Which allocator a process has: its `main` names one, since it can be chosen only when a binary is linked.
//!
//! [`Fast`] is for processes that make and drop many small buffers on many threads: each thread has pages of its own for
//! every size, so nothing is contended, and a process keeps two to three times what it uses. The agent is one process on
//! every node, mostly waits, and its bursts are short: it has the system's allocator with [`one_heap`], which holds
//! little more than what is in use.

use std::ffi::{c_int, c_long};

/// mimalloc.
pub use mimalloc::MiMalloc as Fast;

/// `mi_option_purge_delay`: milliseconds for which freed pages stay with the process.
const PURGE_DELAY: c_int = 15;

unsafe extern "C" {
    fn mi_option_set_default(option: c_int, value: c_long);
}

/// [`Fast`] gives freed pages back to the kernel at once and not after a second. Each costs a system call, so processes
/// that bound the cluster's speed leave it.
///
/// `MIMALLOC_PURGE_DELAY` in the environment decides if it is set.
pub fn give_memory_back_early() {
    // SAFETY: both sides take plain numbers; mimalloc ignores an option that it does not have.
    unsafe { mi_option_set_default(PURGE_DELAY, 0) };
}

/// The system's allocator keeps one heap for all threads, takes buffers of 64 KiB or more from the kernel one by one,
/// and gives the heap's end back when as much is free. Called first of all, while there is one thread.
pub fn one_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the calls take plain numbers. One that is refused leaves the default.
    unsafe {
        const LARGE: c_int = 64 << 10;
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}
