//! File systems in memory, and the mounts below a pod's directory.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::Failure;

/// Mounts a tmpfs of at most `size` bytes at `path` unless something is mounted there already.
pub fn ensure(path: &Path, size: Option<i64>) -> Result<(), Failure> {
    std::fs::create_dir_all(path).map_err(Failure::at("make", path))?;
    if is_mount_point(path).map_err(Failure::at("look at", path))? {
        return Ok(());
    }
    let options = size.map(|size| format!("size={size}"));
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), options.as_deref())
        .map_err(|errno| Failure::at("mount a tmpfs at", path)(errno.into()))
}

fn is_mount_point(path: &Path) -> io::Result<bool> {
    let parent = path.parent().unwrap_or(path);
    Ok(std::fs::metadata(path)?.dev() != std::fs::metadata(parent)?.dev())
}

/// Unmounts everything below `directory`, the innermost first.
pub fn unmount_below(directory: &Path) -> io::Result<()> {
    let table = std::fs::read_to_string("/proc/self/mountinfo")?;
    let mut points: Vec<PathBuf> =
        table.lines().filter_map(mount_point).filter(|point| point.starts_with(directory)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in points {
        match umount2(&point, MntFlags::MNT_DETACH) {
            // It is gone already.
            Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// The fifth field of a line of mountinfo, with its octal escapes resolved.
fn mount_point(line: &str) -> Option<PathBuf> {
    let field = line.split(' ').nth(4)?;
    let mut path = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(position) = rest.find('\\') {
        path.push_str(&rest[..position]);
        let code = rest.get(position + 1..position + 4)?;
        path.push(char::from(u8::from_str_radix(code, 8).ok()?));
        rest = &rest[position + 4..];
    }
    path.push_str(rest);
    Some(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let line = r"36 35 98:0 / /mnt/with\040space rw,noatime - tmpfs tmpfs rw";
        assert_eq!(mount_point(line), Some(PathBuf::from("/mnt/with space")));
        assert_eq!(mount_point("36 35"), None);
    }
}
