//! Kernel parameters of the network namespace that the thread is in.

use std::path::PathBuf;

use crate::protocol::Error;

/// `name` is a path below /proc/sys, e.g. `net/ipv4/ip_forward`. Written only where it differs: a read-only /proc is
/// no obstacle when all is as wanted.
pub fn set(name: &str, value: &str) -> Result<(), Error> {
    let path = PathBuf::from("/proc/sys").join(name);
    if std::fs::read_to_string(&path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|error| Error::io(format!("writing {value} to {}: {error}", path.display())))
}
