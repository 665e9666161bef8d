//! How many files and connections the process may have open.

/// Raises the soft limit of open files to the hard one, and returns it. Shells give 1,024, which is meant for programs
/// that use select(2); what listens for connections needs more. Programs that are started later inherit it.
pub fn raise_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the structure, which outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        tracing::warn!(error = %std::io::Error::last_os_error(), "cannot read the limit of open files");
        return 1024;
    }
    let soft = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the structure is whole and outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        tracing::warn!(error = %std::io::Error::last_os_error(), soft, "cannot raise the limit of open files");
        return soft;
    }
    limit.rlim_cur
}
