//! The volumes of a pod: their content on the node, and where containers see it.
//!
//! Everything is idempotent: a volume that is in place is left as it is, so the agent can be killed at any moment and
//! set the same volumes up again. Content that the agent makes (ConfigMaps, Secrets, tokens …) changes in running pods
//! whenever its source does, by [`atomic_writer`].

pub mod atomic_writer;
mod empty_dir;
mod host_path;
pub mod mounts;
pub mod payload;
mod tmpfs;
pub mod tokens;

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Pod, Volume};

use crate::environment::ConfigError;
use crate::pods::spec;

/// A volume that cannot be set up now; the text is that of upstream's FailedMount event.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Content { volume: String, source: ConfigError },
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {source}")]
    Write { volume: String, source: atomic_writer::Error },
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {reason}")]
    HostPath { volume: String, reason: String },
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {action} {path}: {source}")]
    Io { volume: String, action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("Unable to attach or mount volumes: volume \"{volume}\" has a type that this node does not support")]
    Unsupported { volume: String },
}

/// The plugin part of a volume's directory, as upstream's kubelet names them.
fn plugin(volume: &Volume) -> Option<&'static str> {
    if volume.empty_dir.is_some() {
        Some("kubernetes.io~empty-dir")
    } else if volume.config_map.is_some() {
        Some("kubernetes.io~configmap")
    } else if volume.secret.is_some() {
        Some("kubernetes.io~secret")
    } else if volume.projected.is_some() {
        Some("kubernetes.io~projected")
    } else if volume.downward_api.is_some() {
        Some("kubernetes.io~downward-api")
    } else {
        None
    }
}

/// The host's path of a volume's content; `None` for a kind of volume that is not supported.
pub fn path(pod_directory: &Path, volume: &Volume) -> Option<PathBuf> {
    if let Some(host_path) = &volume.host_path {
        return Some(PathBuf::from(&host_path.path));
    }
    Some(pod_directory.join("volumes").join(plugin(volume)?).join(&volume.name))
}

/// Secrets never touch the disk.
fn in_memory(volume: &Volume) -> bool {
    let token = |volume: &Volume| {
        volume
            .projected
            .iter()
            .flat_map(|projected| projected.sources.iter().flatten())
            .any(|source| source.service_account_token.is_some() || source.secret.is_some())
    };
    volume.secret.is_some() || token(volume)
}

/// Sets up one volume. `files` is its content if the agent makes it ([`payload::Origin::files`]). Blocks.
pub fn set_up(pod_directory: &Path, pod: &Pod, volume: &Volume, files: Option<payload::Files>) -> Result<(), Error> {
    let unsupported = || Error::Unsupported { volume: volume.name.clone() };
    let path = path(pod_directory, volume).ok_or_else(unsupported)?;
    if let Some(source) = &volume.host_path {
        return host_path::check(&path, source.type_.as_deref().unwrap_or_default())
            .map_err(|reason| Error::HostPath { volume: volume.name.clone(), reason });
    }
    if let Some(source) = &volume.empty_dir {
        return empty_dir::set_up(&path, source, fs_group(pod)).map_err(|failure| failure.of(volume));
    }
    let files = files.ok_or_else(unsupported)?;
    let files = files.map_err(|source| Error::Content { volume: volume.name.clone(), source })?;
    if in_memory(volume) {
        tmpfs::ensure(&path, None).map_err(|failure| failure.of(volume))?;
    }
    atomic_writer::write(&path, &files).map(drop).map_err(|source| Error::Write { volume: volume.name.clone(), source })
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let security = spec::spec(pod).security_context.as_ref()?;
    security.fs_group.and_then(|group| u32::try_from(group).ok())
}

/// Takes away all that [`set_up`] made below the pod's directory, mounts first. Blocks.
pub fn tear_down(pod_directory: &Path) -> std::io::Result<()> {
    tmpfs::unmount_below(pod_directory)
}

/// An operation of the file system that failed, before it is known for which volume.
#[derive(Debug)]
struct Failure {
    action: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

impl Failure {
    fn at(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
        let path = path.to_owned();
        move |source| Failure { action, path, source }
    }

    fn of(self, volume: &Volume) -> Error {
        Error::Io { volume: volume.name.clone(), action: self.action, path: self.path, source: self.source }
    }
}
