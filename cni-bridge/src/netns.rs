//! Entering network namespaces.
//!
//! The process has one thread, so changing its namespace and back concerns nobody else. A netlink socket stays in
//! the namespace that it was opened in: most work is done by opening one there and coming straight back.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};

use crate::protocol::Error;

pub struct NetworkNamespace {
    path: PathBuf,
    file: File,
}

impl NetworkNamespace {
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_path_buf();
        let file = File::open(&path).map_err(|error| Error::io(format!("failed to open netns {:?}: {error}", path)))?;
        Ok(NetworkNamespace { path, file })
    }

    /// `None` where the namespace is gone (its file is missing, or left behind as a plain file).
    pub fn open_if_exists(path: &str) -> Option<Self> {
        if path.is_empty() {
            return None;
        }
        NetworkNamespace::open(path).ok().filter(|namespace| namespace.run(|| Ok(())).is_ok())
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Runs `work` inside and comes back, whatever `work` answers.
    pub fn run<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let home = NetworkNamespace::open("/proc/self/ns/net")?;
        self.enter()?;
        let outcome = work();
        home.enter()?;
        outcome
    }

    fn enter(&self) -> Result<(), Error> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|error| Error::io(format!("failed to enter netns {:?}: {error}", self.path)))
    }
}
