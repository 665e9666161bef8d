//! Devices of a container: those asked for, or all of the host's for a privileged one.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};

use super::invalid;
use crate::runtime::{ContainerSpec, Error};

pub struct ContainerDevice {
    pub node: LinuxDevice,
    pub permissions: String,
}

/// Bound of the walk through /dev.
const LIMIT: usize = 4096;

pub fn of_container(spec: &ContainerSpec) -> Result<Vec<ContainerDevice>, Error> {
    if spec.security.privileged {
        let mut devices = Vec::new();
        collect(Path::new("/dev"), &mut devices);
        return Ok(devices);
    }
    let mut devices = Vec::new();
    for device in &spec.devices {
        let node = describe(&device.source, &device.destination)?
            .ok_or_else(|| Error::InvalidSpec(format!("{} is not a device", device.source.display())))?;
        devices.push(ContainerDevice { node, permissions: device.permissions.clone() });
    }
    Ok(devices)
}

/// Terminals, shared memory and queues are the container's own; what cannot be read is left out.
fn collect(directory: &Path, devices: &mut Vec<ContainerDevice>) {
    const OWN: [&str; 7] = ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts"];
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let own = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| OWN.contains(&name));
        if own || devices.len() >= LIMIT {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&path, devices),
            Ok(kind) if kind.is_symlink() => {}
            Ok(_) => {
                if let Ok(Some(node)) = describe(&path, &path) {
                    devices.push(ContainerDevice { node, permissions: "rwm".into() });
                }
            }
            Err(_) => {}
        }
    }
}

fn describe(source: &Path, destination: &PathBuf) -> Result<Option<LinuxDevice>, Error> {
    let metadata = fs::metadata(source).map_err(Error::io("looking at device", source))?;
    let kind = metadata.file_type();
    let kind = if kind.is_char_device() {
        LinuxDeviceType::C
    } else if kind.is_block_device() {
        LinuxDeviceType::B
    } else {
        return Ok(None);
    };
    LinuxDeviceBuilder::default()
        .path(destination)
        .typ(kind)
        .major(i64::from(nix::libc::major(metadata.rdev())))
        .minor(i64::from(nix::libc::minor(metadata.rdev())))
        .file_mode(metadata.mode() & 0o7777)
        .uid(metadata.uid())
        .gid(metadata.gid())
        .build()
        .map(Some)
        .map_err(invalid)
}
