//! The files that say whose an address is.

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::protocol::{Attachment, Error};

/// Holds the network's lock as long as it lives.
pub struct Store {
    directory: PathBuf,
    _lock: Flock<File>,
}

const LOCK: &str = "lock";
const STAGED: &str = ".staged";
const LAST_PREFIX: &str = "last_reserved_ip.";

fn failed(action: &str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let text = format!("{action} {}", path.display());
    move |error| Error::io(format!("{text}: {error}"))
}

impl Store {
    pub fn open(data_dir: &Path, network: &str) -> Result<Self, Error> {
        let directory = data_dir.join(network);
        fs::create_dir_all(&directory).map_err(failed("creating", &directory))?;
        let path = directory.join(LOCK);
        let file =
            File::options().create(true).truncate(false).write(true).open(&path).map_err(failed("opening", &path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive)
            .map_err(|(_, errno)| Error::io(format!("locking {}: {errno}", path.display())))?;
        Ok(Store { directory, _lock: lock })
    }

    /// False where somebody has it. The file appears complete: it is written aside and linked in.
    pub fn reserve(&self, address: IpAddr, owner: &Attachment, set: usize) -> Result<bool, Error> {
        let path = self.directory.join(address.to_string());
        let staged = self.directory.join(STAGED);
        fs::write(&staged, format!("{}\r\n{}", owner.container_id, owner.ifname))
            .map_err(failed("writing", &staged))?;
        let linked = fs::hard_link(&staged, &path);
        let _ = fs::remove_file(&staged);
        match linked {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(failed("creating", &path)(error)),
        }
        let last = self.directory.join(format!("{LAST_PREFIX}{set}"));
        fs::write(&last, address.to_string()).map_err(failed("writing", &last))?;
        Ok(true)
    }

    pub fn is_reserved(&self, address: IpAddr) -> bool {
        self.directory.join(address.to_string()).exists()
    }

    pub fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.directory.join(format!("{LAST_PREFIX}{set}"))).ok()?.trim().parse().ok()
    }

    pub fn owned_by(&self, owner: &Attachment) -> Result<Vec<IpAddr>, Error> {
        Ok(self
            .entries()?
            .into_iter()
            .filter(|(_, found)| is_owner(found, owner))
            .map(|(address, _)| address)
            .collect())
    }

    pub fn release(&self, owner: &Attachment) -> Result<usize, Error> {
        self.release_entries(|found| is_owner(found, owner))
    }

    pub fn release_where(&self, stale: impl Fn(&Attachment) -> bool) -> Result<usize, Error> {
        self.release_entries(stale)
    }

    pub fn free(&self, address: IpAddr) -> Result<(), Error> {
        let path = self.directory.join(address.to_string());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("removing", &path)(error)),
            _ => Ok(()),
        }
    }

    fn release_entries(&self, chosen: impl Fn(&Attachment) -> bool) -> Result<usize, Error> {
        let mut released = 0;
        for (address, attachment) in self.entries()? {
            if chosen(&attachment) {
                self.free(address)?;
                released += 1;
            }
        }
        Ok(released)
    }

    /// A range has as many as its size; the walk is bounded by what was given out.
    fn entries(&self) -> Result<Vec<(IpAddr, Attachment)>, Error> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed("listing", &self.directory))? {
            let entry = entry.map_err(failed("listing", &self.directory))?;
            let Some(address) = entry.file_name().to_str().and_then(|name| name.parse::<IpAddr>().ok()) else {
                continue;
            };
            let content = match fs::read_to_string(entry.path()) {
                Ok(content) => content,
                Err(error) => return Err(failed("reading", &entry.path())(error)),
            };
            let mut lines = content.lines();
            let container_id = lines.next().unwrap_or_default().trim().to_string();
            let ifname = lines.next().unwrap_or_default().trim().to_string();
            entries.push((address, Attachment { container_id, ifname }));
        }
        Ok(entries)
    }
}

/// Stores from before CNI 0.7 hold no interface name.
fn is_owner(found: &Attachment, owner: &Attachment) -> bool {
    found.container_id == owner.container_id && (found.ifname.is_empty() || found.ifname == owner.ifname)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(id: &str, ifname: &str) -> Attachment {
        Attachment { container_id: id.into(), ifname: ifname.into() }
    }

    #[test]
    fn an_address_has_one_owner_until_it_is_released() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path(), "net").expect("store");
        let address: IpAddr = "10.0.0.2".parse().expect("address");
        assert!(store.reserve(address, &attachment("a", "eth0"), 0).expect("reserve"));
        assert!(!store.reserve(address, &attachment("b", "eth0"), 0).expect("reserve"));
        assert_eq!(store.last_reserved(0), Some(address));
        assert_eq!(store.release(&attachment("a", "eth1")).expect("release"), 0);
        assert_eq!(store.release(&attachment("a", "eth0")).expect("release"), 1);
        assert!(store.reserve(address, &attachment("b", "eth0"), 0).expect("reserve"));
    }

    #[test]
    fn files_of_upstream_are_understood() {
        let directory = tempfile::tempdir().expect("directory");
        let store = Store::open(directory.path(), "net").expect("store");
        fs::write(directory.path().join("net/10.0.0.7"), "old\r\neth0").expect("write");
        fs::write(directory.path().join("net/10.0.0.8"), "older").expect("write");
        assert_eq!(store.owned_by(&attachment("old", "eth0")).expect("list").len(), 1);
        assert_eq!(store.release(&attachment("older", "eth0")).expect("release"), 1);
    }
}
