//! A member's disk that can be filled up.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use nix::sys::statvfs::statvfs;

use crate::{Error, Result};

/// A small disk's size, and what a member keeps free of it.
pub const SMALL: u64 = 384 << 20;
pub const RESERVE: u64 = 48 << 20;

/// How full a disk is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fullness {
    /// Less is free than the member wants to keep.
    BelowReserve,
    /// Nothing is free at all.
    Brim,
}

pub struct Disk {
    directory: PathBuf,
    small: bool,
}

impl Disk {
    /// Small disks are in memory, and nobody but this process and its children sees them.
    pub fn prepare(directory: &Path, small: bool) -> Result<Self> {
        if small {
            let size = format!("size={SMALL}");
            mount(Some("chaos"), directory, Some("tmpfs"), MsFlags::empty(), Some(size.as_str()))
                .map_err(|error| Error::tried("mount a tmpfs on", directory.display(), error))?;
        }
        Ok(Self { directory: directory.to_owned(), small })
    }

    fn filler(&self) -> PathBuf {
        self.directory.join("filler")
    }

    pub fn fill(&self, fullness: Fullness) -> Result<()> {
        if !self.small {
            return Err(Error::new("only small disks are filled"));
        }
        let filler = self.filler();
        let failed = |error: std::io::Error| Error::tried("fill", filler.display(), error);
        let stat = statvfs(&self.directory).map_err(|error| failed(error.into()))?;
        let free = stat.blocks_available() * stat.fragment_size();
        let keep = match fullness {
            Fullness::BelowReserve => RESERVE / 2,
            Fullness::Brim => 0,
        };
        let file = std::fs::File::create(&filler).map_err(failed)?;
        let wanted = free.saturating_sub(keep);
        if wanted == 0 {
            return Ok(());
        }
        match nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, wanted as i64) {
            // The member took the last of it first: as full as was wanted.
            Ok(()) | Err(nix::Error::ENOSPC) => Ok(()),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Whether it was filled.
    pub fn free(&self) -> Result<bool> {
        let filler = self.filler();
        match std::fs::remove_file(&filler) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::tried("remove", filler.display(), error)),
        }
    }
}
