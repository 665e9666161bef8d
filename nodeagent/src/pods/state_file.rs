//! A pod's directory on the node, with what outlives the agent: the pod as it was last known, and [`Durable`].
//!
//! The files are written beside their old versions and renamed over them, so a killed agent leaves the old or the new.

use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::memory::Durable;

const POD: &str = "pod.json";
const STATE: &str = "state.json";

/// `<root>/pods/<uid>`
pub fn directory(root: &Path, uid: &str) -> PathBuf {
    root.join("pods").join(uid)
}

pub fn prepare(directory: &Path, pod: &Pod) -> io::Result<()> {
    for part in ["volumes", "containers", "plugins"] {
        std::fs::create_dir_all(directory.join(part))?;
    }
    write(&directory.join(POD), pod)
}

pub fn save(directory: &Path, state: &Durable) -> io::Result<()> {
    write(&directory.join(STATE), state)
}

/// What was saved; nothing for a pod that is new to this node, or whose file is damaged (the API's status then tells
/// the restart counts).
pub fn load(directory: &Path) -> Option<Durable> {
    read(&directory.join(STATE))
}

/// The pods that have a directory, as they were when they were last written.
pub fn known_pods(root: &Path) -> io::Result<Vec<Pod>> {
    let mut pods = Vec::new();
    let entries = match std::fs::read_dir(root.join("pods")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pods),
        Err(error) => return Err(error),
    };
    for entry in entries {
        pods.extend(read::<Pod>(&entry?.path().join(POD)));
    }
    Ok(pods)
}

fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let text = serde_json::to_vec(value)?;
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, text)?;
    std::fs::rename(&fresh, path)
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let text = std::fs::read(path).ok()?;
    match serde_json::from_slice(&text) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a pod's file is damaged and is left out");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_found_again() {
        let root = tempfile::tempdir().expect("a directory");
        let mut pod = Pod::default();
        pod.metadata.uid = Some("u-1".to_owned());
        let directory = directory(root.path(), "u-1");
        assert!(known_pods(root.path()).expect("readable").is_empty());
        prepare(&directory, &pod).expect("prepared");
        assert_eq!(load(&directory), None);
        let mut state = Durable::default();
        state.containers.entry("c".to_owned()).or_default().restart_count = 4;
        save(&directory, &state).expect("saved");
        assert_eq!(load(&directory), Some(state));
        assert_eq!(known_pods(root.path()).expect("readable"), [pod]);
        std::fs::write(directory.join(STATE), "{").expect("damaged");
        assert_eq!(load(&directory), None);
    }
}
