//! emptyDir: a directory that lives and dies with its pod, on the node's disk or in memory.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use k8s_openapi::api::core::v1::EmptyDirVolumeSource;

use super::{Failure, tmpfs};
use crate::resources::quantity_value;

/// Everyone in the pod may write to it.
const MODE: u32 = 0o777;
/// New files take the directory's group.
const SET_GROUP: u32 = 0o2000;

pub fn set_up(path: &Path, source: &EmptyDirVolumeSource, fs_group: Option<u32>) -> Result<(), Failure> {
    if source.medium.as_deref() == Some("Memory") {
        tmpfs::ensure(path, source.size_limit.as_ref().map(quantity_value).filter(|size| *size > 0))?;
    } else {
        std::fs::create_dir_all(path).map_err(Failure::at("make", path))?;
    }
    if let Some(group) = fs_group {
        chown(path, None, Some(group)).map_err(Failure::at("give away", path))?;
    }
    let mode = if fs_group.is_some() { MODE | SET_GROUP } else { MODE };
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Failure::at("open up", path))
}
