//! What a container finds mounted.

use std::path::Path;

use oci_spec::runtime::{Mount, MountBuilder};

use super::{ContainerInput, invalid};
use crate::runtime::{Error, MountPropagation};

/// Files of the pod that each of its containers sees, with their names in the pod's directory.
pub const POD_FILES: [(&str, &str); 3] =
    [("/etc/hosts", "etc-hosts"), ("/etc/hostname", "hostname"), ("/etc/resolv.conf", "resolv.conf")];

pub fn masked_paths() -> Vec<String> {
    let paths = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ];
    paths.map(str::to_string).to_vec()
}

pub fn readonly_paths() -> Vec<String> {
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"].map(str::to_string).to_vec()
}

fn mount(
    destination: impl AsRef<Path>,
    kind: &str,
    source: impl AsRef<Path>,
    options: &[&str],
) -> Result<Mount, Error> {
    MountBuilder::default()
        .destination(destination.as_ref())
        .typ(kind)
        .source(source.as_ref())
        .options(options.iter().map(|option| option.to_string()).collect::<Vec<_>>())
        .build()
        .map_err(invalid)
}

/// As little as runc can do with: the sandbox looks at none of it.
pub fn sandbox() -> Result<Vec<Mount>, Error> {
    Ok(vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
    ])
}

pub fn container(input: &ContainerInput<'_>) -> Result<Vec<Mount>, Error> {
    let (spec, sandbox) = (input.spec, input.sandbox);
    let privileged = spec.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", access])?,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", access])?,
    ];
    let asked = |destination: &str| spec.mounts.iter().any(|mount| mount.destination == Path::new(destination));
    if !asked("/dev/shm") {
        let source = if sandbox.host_ipc { Path::new("/dev/shm") } else { input.shared_memory };
        mounts.push(mount("/dev/shm", "bind", source, &["rbind", "rprivate", "rw"])?);
    }
    let pod_file_access = if spec.security.read_only_root_filesystem { "ro" } else { "rw" };
    for (destination, file) in POD_FILES {
        let source = sandbox.directory.join(file);
        if !asked(destination) {
            mounts.push(mount(destination, "bind", source, &["rbind", "rprivate", pod_file_access])?);
        }
    }
    if let Some((destination, source)) = input.termination_message {
        mounts.push(mount(destination, "bind", source, &["rbind", "rprivate", "rw"])?);
    }

    // Parents before what is mounted inside them.
    let mut asked: Vec<_> = spec.mounts.iter().collect();
    asked.sort_by_key(|mount| mount.destination.components().count());
    for one in asked {
        let propagation = match one.propagation {
            MountPropagation::Private => "rprivate",
            MountPropagation::HostToContainer => "rslave",
            MountPropagation::Bidirectional => "rshared",
        };
        let access = if one.read_only { "ro" } else { "rw" };
        mounts.push(mount(&one.destination, "bind", &one.source, &["rbind", propagation, access])?);
    }
    Ok(mounts)
}
