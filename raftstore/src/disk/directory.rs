//! The data directory: which member of which cluster it belongs to, in which layout, and which database is its state.
//!
//! ```text
//! <data-dir>/member.json   format, cluster and member id, the name of the state database in use
//! <data-dir>/log/          the Raft log's journal; log-<n>/ after a recovery
//! <data-dir>/state-<n>/    the replicated state; n grows when it is replaced as a whole. A second one may be on its way
//! ```
//! `member.json` is replaced in one step, so a crash leaves the old state in use or the new one, never half of one. A
//! restore writes it last; until then the directory holds `restore-unfinished`, and no member starts on it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Buffered, Bundled, Error, NextState, Result, SledStorage, States, Storage};

/// The layout of everything below the data directory. 1 had the log in a database of sled's; 2 knew one name for the log;
/// 3 had each record of the history by itself, and other segments.
const FORMAT: u32 = 4;
const ADVICE: &str = "use the version that wrote it, or bring a backup by it (snapshot save) into an empty directory \
                      (snapshot restore)";
const FILE: &str = "member.json";
const UNFINISHED: &str = "restore-unfinished";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub cluster_id: u64,
    pub member_id: u64,
    pub name: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Description {
    format: u32,
    #[serde(flatten)]
    identity: Identity,
    state: u64,
    log: u64,
    /// A state that is being received. It may be anything; who takes it up looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<u64>,
}

/// The database of the replicated state.
pub type State = Buffered<Bundled<SledStorage>>;

fn open(path: &Path, cache: u64) -> Result<State> {
    Buffered::new(Bundled::new(SledStorage::open(path, cache)?)?)
}

pub struct DataDirectory {
    root: PathBuf,
    description: Description,
    /// The newest state that was begun; numbers are not used again while the member runs.
    newest: u64,
}

impl DataDirectory {
    /// Whose directory it is; nobody's if it is new.
    pub fn identity(root: &Path) -> Result<Option<Identity>> {
        Ok(Self::read(root)?.map(|description| description.identity))
    }

    /// Opens the directory, or makes it for `identity` when it is new. A directory that belongs to another member, or
    /// that is not ours, is refused.
    pub fn open(root: &Path, identity: &Identity) -> Result<Self> {
        std::fs::create_dir_all(root).map_err(|source| Error::File { what: "make", path: root.to_owned(), source })?;
        let Some(description) = Self::read(root)? else { return Self::found(root, identity) };
        if description.identity != *identity {
            let theirs = description.identity;
            return Err(Error::Foreign {
                path: root.join(FILE),
                found: format!(
                    "the data of member {} ({:x} of cluster {:x}), but this is {} ({:x} of cluster {:x})",
                    theirs.name,
                    theirs.member_id,
                    theirs.cluster_id,
                    identity.name,
                    identity.member_id,
                    identity.cluster_id
                ),
                advice: "start it under the name that it was made with, or give this member an empty --data-dir",
            });
        }
        let directory = Self::of(root, description);
        directory.remove_unused();
        Ok(directory)
    }

    fn of(root: &Path, description: Description) -> Self {
        let newest = description.state.max(description.kept.unwrap_or(0));
        Self { root: root.to_owned(), newest, description }
    }

    /// The directory as it is, for work while no member runs on it: nothing is made and nothing is tidied up.
    pub fn take(root: &Path) -> Result<Option<Self>> {
        Ok(Self::read(root)?.map(|description| Self::of(root, description)))
    }

    pub fn owner(&self) -> &Identity {
        &self.description.identity
    }

    /// A directory for a member that is restored; it is nobody's until [`finish_restore`](Self::finish_restore). What a
    /// restore that was cut short left is removed, anything else is refused.
    pub fn begin_restore(root: &Path, identity: &Identity) -> Result<Self> {
        let failed = |what| move |source| Error::File { what, path: root.to_owned(), source };
        std::fs::create_dir_all(root).map_err(failed("make"))?;
        let is_unfinished = root.join(UNFINISHED).exists() && !root.join(FILE).exists();
        for entry in std::fs::read_dir(root).map_err(failed("read"))? {
            let entry = entry.map_err(failed("read"))?;
            if !is_unfinished {
                return Err(Error::Foreign {
                    path: root.to_owned(),
                    found: format!("{:?} already", entry.file_name()),
                    advice: "a restore needs an empty directory: move this one away, or name another --data-dir",
                });
            }
            if entry.file_name() != UNFINISHED {
                let removed = match entry.file_type() {
                    Ok(kind) if kind.is_dir() => std::fs::remove_dir_all(entry.path()),
                    _ => std::fs::remove_file(entry.path()),
                };
                removed.map_err(failed("empty"))?;
            }
        }
        let marked = || {
            File::create(root.join(UNFINISHED))?.sync_all()?;
            File::open(root)?.sync_all()
        };
        marked().map_err(failed("write into"))?;
        let description = Description { format: FORMAT, identity: identity.clone(), state: 1, log: 0, kept: None };
        Ok(Self::of(root, description))
    }

    /// The member may start. State and log must have been synced.
    pub fn finish_restore(self) -> Result<()> {
        self.save()?;
        let path = self.root.join(UNFINISHED);
        std::fs::remove_file(&path).map_err(|source| Error::File { what: "remove", path, source })
    }

    /// In one step another member: the newest state that was begun and the next log are its own. What was there before is
    /// kept in a folder beside them, which is returned. Both must have been synced.
    pub fn become_another(mut self, identity: Identity) -> Result<PathBuf> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { what: "keep the old state in", path, source }
        };
        let (old_state, old_log) = (self.state_path(self.description.state), self.log_path());
        let kept = self.root.join(format!("before-recovery-{}", self.description.state));
        std::fs::create_dir_all(&kept).map_err(failed(&kept))?;
        std::fs::copy(self.root.join(FILE), kept.join(FILE)).map_err(failed(&kept))?;
        self.description.identity = identity;
        self.description.state = self.newest;
        self.description.kept = None;
        self.description.log += 1;
        self.save()?;
        for old in [old_state, old_log] {
            if let Some(name) = old.file_name() {
                std::fs::rename(&old, kept.join(name)).map_err(failed(&kept))?;
            }
        }
        Ok(kept)
    }

    /// Where the log goes that takes the place of this one; nothing is there.
    pub fn next_log_path(&self) -> Result<PathBuf> {
        let path = self.root.join(format!("log-{}", self.description.log + 1));
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::File { what: "remove", path, source: error })
            }
            _ => Ok(path),
        }
    }

    fn read(root: &Path) -> Result<Option<Description>> {
        let file = root.join(FILE);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { what: "read", path: file, source }),
        };
        let foreign = |found: String, advice| Error::Foreign { path: file.clone(), found, advice };
        let unreadable = |error: serde_json::Error| {
            foreign(format!("no description of a member ({error})"), "restore the file, or rejoin under a new name")
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(unreadable)?;
        if value["format"] != FORMAT {
            return Err(foreign(format!("format {}", value["format"]), ADVICE));
        }
        serde_json::from_value(value).map(Some).map_err(unreadable)
    }

    fn found(root: &Path, identity: &Identity) -> Result<Self> {
        if root.join(UNFINISHED).exists() {
            return Err(Error::Foreign {
                path: root.to_owned(),
                found: "a restore that was cut short".to_owned(),
                advice: "run the restore again: it begins anew",
            });
        }
        let mut entries =
            std::fs::read_dir(root).map_err(|source| Error::File { what: "read", path: root.to_owned(), source })?;
        let stray = entries.find_map(|entry| entry.ok().map(|entry| entry.file_name()));
        // A crash during the very first start can leave the file's draft; anything else is somebody's.
        if let Some(stray) = stray.filter(|stray| !stray.to_string_lossy().starts_with(FILE)) {
            return Err(Error::Foreign {
                path: root.to_owned(),
                found: format!("{stray:?} but no {FILE}"),
                advice: "give this member an empty --data-dir of its own",
            });
        }
        let description = Description { format: FORMAT, identity: identity.clone(), state: 1, log: 0, kept: None };
        let directory = Self::of(root, description);
        directory.save()?;
        Ok(directory)
    }

    pub fn log_path(&self) -> PathBuf {
        match self.description.log {
            0 => self.root.join("log"),
            number => self.root.join(format!("log-{number}")),
        }
    }

    pub fn open_state(&self, cache: u64) -> Result<State> {
        open(&self.state_path(self.description.state), cache)
    }

    /// An empty database beside the one in use, and its number.
    pub fn begin_state(&mut self, cache: u64) -> Result<(u64, State)> {
        let number = self.newest + 1;
        let path = self.state_path(number);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::File { what: "remove", path, source: error });
            }
            _ => {}
        }
        let state = open(&path, cache)?;
        self.newest = number;
        Ok((number, state))
    }

    /// From now on this state is the state. It must have been synced.
    pub fn adopt_state(&mut self, number: u64) -> Result<()> {
        let old = self.description.clone();
        self.description.state = number;
        self.description.kept.take_if(|kept| *kept == number);
        self.save_or(&old)?;
        remove_state(&self.state_path(old.state));
        Ok(())
    }

    /// From now on a restart leaves this state alone. It must have been begun.
    pub fn keep_state(&mut self, number: u64) -> Result<()> {
        let old = self.description.clone();
        self.description.kept = Some(number);
        self.save_or(&old)
    }

    /// The state that was kept before this directory was opened, once, and its number. Should it be damaged in a way that
    /// ends this process, the next one does not open it again.
    pub fn take_kept_state(&mut self, cache: u64) -> Result<Option<(u64, State)>> {
        let old = self.description.clone();
        let Some(number) = self.description.kept.take() else { return Ok(None) };
        self.save_or(&old)?;
        let path = self.state_path(number);
        if !path.is_dir() {
            return Ok(None);
        }
        match open(&path, cache) {
            Ok(state) => Ok(Some((number, state))),
            Err(error) => {
                remove_state(&path);
                Err(error)
            }
        }
    }

    /// Saves the description, or takes the old one back.
    fn save_or(&mut self, old: &Description) -> Result<()> {
        self.save().inspect_err(|_| self.description = old.clone())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    fn state_path(&self, number: u64) -> PathBuf {
        self.root.join(format!("state-{number}"))
    }

    fn save(&self) -> Result<()> {
        let path = self.root.join(FILE);
        let draft = self.root.join(format!("{FILE}.draft"));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(&self.description)?)?;
            file.sync_all()?;
            std::fs::rename(&draft, &path)?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(|source| Error::File { what: "write", path: path.clone(), source })
    }

    /// Old states, and those that a crash left half made, but for the one that is kept.
    fn remove_unused(&self) {
        let Ok(entries) = std::fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name.strip_prefix("state-").and_then(|number| number.parse::<u64>().ok());
            let is_needed =
                |number: &u64| [Some(self.description.state), self.description.kept].contains(&Some(*number));
            if let Some(number) = number.filter(|number| !is_needed(number)) {
                remove_state(&self.state_path(number));
            }
        }
    }
}

/// Whoever still reads it keeps its open files.
pub(super) fn remove_state(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(%error, state = %path.display(), "cannot remove an unused state");
    }
}

/// The states of a data directory, each with as much cache.
pub struct StateDirectory {
    directory: DataDirectory,
    cache: u64,
}

impl StateDirectory {
    pub fn new(directory: DataDirectory, cache: u64) -> Self {
        Self { directory, cache }
    }
}

impl States for StateDirectory {
    fn open(&self) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.directory.open_state(self.cache)?))
    }

    fn begin(&mut self) -> Result<NextState> {
        let (number, state) = self.directory.begin_state(self.cache)?;
        Ok(NextState::new(number, Arc::new(state), Some(self.directory.state_path(number))))
    }

    fn adopt(&mut self, next: &NextState) -> Result<()> {
        // Before: after an error nobody knows which state is in use until the next start.
        next.stay();
        self.directory.adopt_state(next.number)
    }

    fn keep(&mut self, next: &NextState) -> Result<()> {
        self.directory.keep_state(next.number)?;
        next.stay();
        Ok(())
    }

    fn take_kept(&mut self) -> Result<Option<NextState>> {
        let kept = self.directory.take_kept_state(self.cache)?;
        Ok(kept.map(|(number, state)| NextState::new(number, Arc::new(state), Some(self.directory.state_path(number)))))
    }
}

/// Bytes that are free to us on the file system of this file or directory. It is open, since to find it by its path anew
/// each time would take longer than the look.
pub fn free_space(on: &std::fs::File) -> std::io::Result<u64> {
    use std::os::fd::AsRawFd as _;
    // SAFETY: statvfs is plain data for which all zeroes is a value.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open, and the kernel fills the structure.
    if unsafe { libc::fstatvfs(on.as_raw_fd(), &mut status) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Batch, Storage};

    fn identity(member_id: u64) -> Identity {
        Identity { cluster_id: 7, member_id, name: format!("m{member_id}") }
    }

    #[test]
    fn a_directory_is_taken_up_again_by_its_member_alone() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = DataDirectory::open(root.path(), &identity(1)).expect("a new one");
        drop(directory);
        DataDirectory::open(root.path(), &identity(1)).expect("the same");
        let error = DataDirectory::open(root.path(), &identity(2)).err().expect("another member");
        assert!(error.to_string().contains("the data of member m1 (1 of cluster 7)"), "{error}");
    }

    #[test]
    fn foreign_and_future_data_is_refused() {
        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join("notes.txt"), "mine").expect("written");
        let error = DataDirectory::open(root.path(), &identity(1)).err().expect("not ours");
        assert!(error.to_string().contains("notes.txt"), "{error}");

        let root = tempfile::tempdir().expect("a directory");
        std::fs::write(root.path().join(FILE), r#"{"format":5,"cluster_id":7,"member_id":1,"state":1}"#)
            .expect("written");
        let error = DataDirectory::open(root.path(), &identity(1)).err().expect("from the future");
        assert!(error.to_string().contains("format 5"), "{error}");
    }

    #[test]
    fn a_state_is_replaced_as_a_whole() {
        let root = tempfile::tempdir().expect("a directory");
        let mut directory = DataDirectory::open(root.path(), &identity(1)).expect("a new one");
        let old = directory.open_state(1 << 20).expect("the state");
        let mut batch = Batch::default();
        batch.put(*b"key", &b"old"[..]);
        old.write(batch).expect("written");
        let (stale, _) = directory.begin_state(1 << 20).expect("one that is given up");
        let (number, next) = directory.begin_state(1 << 20).expect("the next");
        let mut batch = Batch::default();
        batch.put(*b"key", &b"new"[..]);
        next.write(batch).expect("written");
        next.sync().expect("synced");
        directory.adopt_state(number).expect("adopted");
        assert!(root.path().join(format!("state-{stale}")).exists(), "somebody may still fill it");
        remove_state(&directory.state_path(stale));
        assert_eq!(old.get(b"key").expect("still readable").as_deref(), Some(&b"old"[..]));
        drop((old, next));
        let directory = DataDirectory::open(root.path(), &identity(1)).expect("again");
        let state = directory.open_state(1 << 20).expect("the state");
        assert_eq!(state.get(b"key").expect("read").as_deref(), Some(&b"new"[..]));
        assert!(!root.path().join("state-1").exists());
    }

    #[test]
    fn a_state_that_nobody_adopts_leaves_nothing_behind() {
        let root = tempfile::tempdir().expect("a directory");
        let directory = DataDirectory::open(root.path(), &identity(1)).expect("a new one");
        let mut states = StateDirectory::new(directory, 1 << 20);
        let (given_up, adopted) = (states.begin().expect("one"), states.begin().expect("another"));
        let places = [2, 3].map(|number| root.path().join(format!("state-{number}")));
        let there = || places.each_ref().map(|place| place.exists());
        assert_eq!(there(), [true, true]);
        let copy = given_up.clone();
        drop(given_up);
        assert_eq!(there(), [true, true], "somebody has it still");
        drop(copy);
        assert_eq!(there(), [false, true]);
        states.adopt(&adopted).expect("adopted");
        drop(adopted);
        assert_eq!(there(), [false, true]);
    }

    #[test]
    fn a_state_that_is_kept_is_there_after_a_restart_once() {
        let root = tempfile::tempdir().expect("a directory");
        let open = || {
            let directory = DataDirectory::open(root.path(), &identity(1)).expect("a directory");
            StateDirectory::new(directory, 1 << 20)
        };
        let there = || [2, 3, 4].map(|number| root.path().join(format!("state-{number}")).exists());
        let mut states = open();
        assert!(states.take_kept().expect("read").is_none());
        let (first, second) = (states.begin().expect("one"), states.begin().expect("another"));
        states.keep(&first).expect("kept");
        // One is kept at a time. The other is let go by who began it.
        states.keep(&second).expect("kept");
        first.let_go();
        drop((first, second, states));
        assert_eq!(there(), [false, true, false]);

        let mut states = open();
        assert_eq!(there(), [false, true, false]);
        let kept = states.take_kept().expect("read").expect("it is there");
        assert!(states.take_kept().expect("read").is_none());
        let next = states.begin().expect("the next");
        assert_eq!(there(), [false, true, true], "their places are not the same");
        drop(next);
        // Should what was kept end this process, the next one does not take it up again.
        std::mem::forget(kept);
        drop(states);
        let mut states = open();
        assert_eq!(there(), [false; 3]);
        assert!(states.take_kept().expect("read").is_none());

        // Adopted, it is the state and no longer kept.
        let adopted = states.begin().expect("one");
        states.keep(&adopted).expect("kept");
        states.adopt(&adopted).expect("adopted");
        drop((adopted, states));
        let mut states = open();
        assert!(states.take_kept().expect("read").is_none());
        assert_eq!(there(), [true, false, false]);
    }
}
