//! Files that change all at once: a reader sees the old set or the new one, never a mixture.
//!
//! The layout is the one that Kubernetes volumes have and that programs watch: each set of files lies in a directory
//! of its own (`..2006_01_02_15_04_05.nnn`), `..data` is a symbolic link to the current one and is replaced by a
//! rename, and each visible name is a link through `..data`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// The content and the permission bits of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    /// The owner, where it is not root.
    pub user: Option<u32>,
    /// The group, where it is not root's.
    pub group: Option<u32>,
}

/// Files by their paths below the volume.
pub type Payload = BTreeMap<String, File>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("invalid path {0:?}: must be relative and without '..'")]
    Path(String),
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Makes `directory` show exactly `payload`. Returns false when it already did.
pub fn write(directory: &Path, payload: &Payload) -> Result<bool, Error> {
    for path in payload.keys() {
        check_path(path)?;
    }
    let current = std::fs::read_link(directory.join(DATA)).ok();
    if let Some(current) = &current
        && shows(&directory.join(current), payload)
    {
        link_visible(directory, payload)?;
        return Ok(false);
    }
    let set = new_set(directory)?;
    let set_path = directory.join(&set);
    if let Err(error) = fill(&set_path, payload) {
        // What is half-written is never shown; an error of its removal adds nothing.
        let _ = std::fs::remove_dir_all(&set_path);
        return Err(error);
    }
    let new_data = directory.join(NEW_DATA);
    match std::fs::remove_file(&new_data) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &new_data)(error)),
        _ => {}
    }
    symlink(&set, &new_data).map_err(failed("link", &new_data))?;
    std::fs::rename(&new_data, directory.join(DATA)).map_err(failed("rename", &new_data))?;
    link_visible(directory, payload)?;
    remove_stale(directory, payload, &set)?;
    Ok(true)
}

fn check_path(path: &str) -> Result<(), Error> {
    let plain = Path::new(path).components().all(|component| matches!(component, Component::Normal(_)));
    let hidden = path.starts_with("..");
    if path.is_empty() || !plain || hidden || path.len() > 4096 {
        return Err(Error::Path(path.to_owned()));
    }
    Ok(())
}

/// True when the set holds exactly the payload.
fn shows(set: &Path, payload: &Payload) -> bool {
    let mut count = 0;
    for (path, file) in payload {
        let path = set.join(path);
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { return false };
        let same_mode = metadata.permissions().mode() & 0o7777 == file.mode;
        if !metadata.is_file() || !same_mode || std::fs::read(&path).ok().as_deref() != Some(file.data.as_slice()) {
            return false;
        }
        count += 1;
    }
    count_files(set).is_ok_and(|found| found == count)
}

fn count_files(directory: &Path) -> io::Result<usize> {
    let mut count = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { count_files(&entry.path())? } else { 1 };
    }
    Ok(count)
}

/// Makes the directory for a new set, named by the time, and gives its name.
fn new_set(directory: &Path) -> Result<String, Error> {
    std::fs::create_dir_all(directory).map_err(failed("make", directory))?;
    loop {
        let name = format!("..{}", Timestamp::now().strftime("%Y_%m_%d_%H_%M_%S.%9f"));
        let path = directory.join(&name);
        match std::fs::create_dir(&path) {
            Ok(()) => {
                let readable = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(&path, readable).map_err(failed("open up", &path))?;
                return Ok(name);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("make", &path)(error)),
        }
    }
}

fn fill(set: &Path, payload: &Payload) -> Result<(), Error> {
    for (name, file) in payload {
        let path = set.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed("make", parent))?;
        }
        let mut handle = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(file.mode)
            .open(&path)
            .map_err(failed("make", &path))?;
        handle.write_all(&file.data).map_err(failed("write", &path))?;
        if file.user.is_some() || file.group.is_some() {
            chown(&path, file.user, file.group).map_err(failed("give away", &path))?;
        }
        // The process' umask took bits away from the mode that the file was opened with.
        let mode = std::fs::Permissions::from_mode(file.mode);
        handle.set_permissions(mode).map_err(failed("set the mode of", &path))?;
    }
    Ok(())
}

fn visible(payload: &Payload) -> BTreeSet<&str> {
    payload.keys().map(|path| path.split('/').next().unwrap_or(path)).collect()
}

fn link_visible(directory: &Path, payload: &Payload) -> Result<(), Error> {
    for name in visible(payload) {
        let link = directory.join(name);
        let target = Path::new(DATA).join(name);
        if std::fs::read_link(&link).is_ok_and(|known| known == target) {
            continue;
        }
        match symlink(&target, &link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("link", &link)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Removes visible links to what is no longer there, and every set but the current one.
fn remove_stale(directory: &Path, payload: &Payload, current: &str) -> Result<(), Error> {
    let visible = visible(payload);
    for entry in std::fs::read_dir(directory).map_err(failed("read", directory))? {
        let entry = entry.map_err(failed("read", directory))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if name == DATA || name == current {
            continue;
        }
        let gone = if name.starts_with("..") && path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(&path)
        } else if path.is_symlink() && !visible.contains(name.as_ref()) {
            std::fs::remove_file(&path)
        } else {
            Ok(())
        };
        gone.map_err(failed("remove", &path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(path, data)| {
                ((*path).to_owned(), File { data: data.as_bytes().to_vec(), mode: 0o644, user: None, group: None })
            })
            .collect()
    }

    fn shown(directory: &Path) -> BTreeMap<String, String> {
        fn walk(root: &Path, directory: &Path, found: &mut BTreeMap<String, String>) {
            for entry in std::fs::read_dir(directory).expect("a directory") {
                let entry = entry.expect("an entry");
                let path = entry.path();
                if entry.file_name().to_string_lossy().starts_with("..") {
                    continue;
                }
                if path.is_dir() {
                    walk(root, &path, found);
                } else {
                    let name = path.strip_prefix(root).expect("below the root").display().to_string();
                    found.insert(name, std::fs::read_to_string(&path).expect("a file"));
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(directory, directory, &mut found);
        found
    }

    #[test]
    fn a_set_replaces_the_one_before_it_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let first = payload(&[("a", "1"), ("dir/b", "2"), ("dir/sub/c", "3")]);
        assert!(write(root, &first).expect("written"));
        assert_eq!(shown(root).len(), 3);
        assert_eq!(std::fs::read_link(root.join("a")).expect("a link"), Path::new("..data/a"));
        let before = std::fs::read_link(root.join(DATA)).expect("a link");

        assert!(!write(root, &first).expect("unchanged"), "the same payload writes nothing");
        assert_eq!(std::fs::read_link(root.join(DATA)).expect("a link"), before);

        assert!(write(root, &payload(&[("a", "one"), ("new", "4")])).expect("written"));
        let want = BTreeMap::from([("a".to_owned(), "one".to_owned()), ("new".to_owned(), "4".to_owned())]);
        assert_eq!(shown(root), want);
        assert!(!root.join(before).exists(), "the old set is gone");

        assert!(write(root, &Payload::new()).expect("emptied"));
        assert!(shown(root).is_empty());
    }

    #[test]
    fn modes_are_set_whatever_the_umask() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut files = payload(&[("key", "x")]);
        files.get_mut("key").expect("a file").mode = 0o666;
        write(directory.path(), &files).expect("written");
        let mode = std::fs::metadata(directory.path().join("key")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
    }

    #[test]
    fn paths_that_leave_the_volume_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        for path in ["", "/etc/passwd", "../x", "a/../../x", "..data/x"] {
            assert!(matches!(write(directory.path(), &payload(&[(path, "x")])), Err(Error::Path(_))), "{path:?}");
        }
    }
}
