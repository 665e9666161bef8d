//! Which allocator a process has: its `main` names one, since it can be chosen only when a binary is linked.
//!
//! [`Fast`] is for processes that make and drop many small buffers on many threads: each thread has a few of every size at
//! hand, so little is contended. The agent is one process on every node, mostly waits, and its bursts are short: it has
//! the system's allocator with [`one_heap`], which holds little more than what is in use.

use std::ffi::{CStr, c_char, c_int};

/// jemalloc.
pub use tikv_jemallocator::Jemalloc as Fast;

/// Four heaps, each for a quarter of the threads. What is free for half a second goes back to the kernel, by a thread on
/// the side: a process that has become quiet allocates nothing, and would keep it all.
pub const BUSY: Configuration =
    Configuration::new(c"narenas:4,background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0");
/// One heap, of which nothing is kept that is free.
pub const QUIET: Configuration = Configuration::new(c"narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0");

/// Options of jemalloc, as `MALLOC_CONF` has them. They are read before `main` is.
#[repr(transparent)]
pub struct Configuration(*const c_char);

// SAFETY: what it points to lives as long as the process, and nobody writes to it.
unsafe impl Sync for Configuration {}

impl Configuration {
    const fn new(options: &'static CStr) -> Self {
        Self(options.as_ptr())
    }
}

/// A binary whose allocator is [`Fast`], configured like this. `_RJEM_MALLOC_CONF` in the environment has the last word.
#[macro_export]
macro_rules! fast_allocator {
    ($configuration:path) => {
        #[global_allocator]
        static ALLOCATOR: $crate::allocator::Fast = $crate::allocator::Fast;

        // SAFETY: it is the name under which jemalloc looks for a pointer to its options, and nobody else has it.
        #[unsafe(export_name = "_rjem_malloc_conf")]
        pub static ALLOCATOR_CONFIGURATION: $crate::allocator::Configuration = $configuration;
    };
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
