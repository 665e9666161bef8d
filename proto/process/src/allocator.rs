//! One allocator for all processes: mimalloc, since the control plane makes and drops many small buffers on many
//! threads, and gives freed pages back to the kernel.

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;
