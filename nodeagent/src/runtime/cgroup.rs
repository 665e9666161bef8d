//! Control groups of pods, on version 1, 2, or both at once; through the file system, without systemd.
//!
//! runc makes and removes those of containers. What is here is the pod's, and reading.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Error, Resources, Usage};

const DEFAULT_PERIOD: u64 = 100_000;

/// Where the controllers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// Version 1: (controllers of the hierarchy, mount point).
    hierarchies: Vec<(Vec<String>, PathBuf)>,
    /// Version 2.
    unified: Option<PathBuf>,
}

impl Cgroups {
    pub fn discover() -> Result<Self, Error> {
        let path = "/proc/self/mountinfo";
        let text = fs::read_to_string(path).map_err(Error::io("reading", path))?;
        Ok(Self::from_mountinfo(&text))
    }

    fn from_mountinfo(text: &str) -> Self {
        let mut cgroups = Cgroups { hierarchies: Vec::new(), unified: None };
        for line in text.lines() {
            // id parent device root mount-point options [tags] - type source super-options
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(mount_point) = left.split(' ').nth(4) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup2"), _) => cgroups.unified = Some(mount_point.into()),
                (Some("cgroup"), Some(options)) => {
                    let controllers = options.split(',').map(str::to_string).collect();
                    cgroups.hierarchies.push((controllers, mount_point.into()));
                }
                _ => {}
            }
        }
        cgroups
    }

    /// True where limits are set through version 2: a hybrid host has its controllers in version 1.
    pub fn is_unified(&self) -> bool {
        self.unified.is_some() && self.hierarchy("memory").is_none() && self.hierarchy("cpu").is_none()
    }

    fn hierarchy(&self, controller: &str) -> Option<&Path> {
        self.hierarchies
            .iter()
            .find(|(controllers, _)| controllers.iter().any(|one| one == controller))
            .map(|(_, path)| path.as_path())
    }

    /// Makes the group with all its parents, and sets what `resources` says.
    pub fn ensure(&self, group: &str, resources: &Resources) -> Result<(), Error> {
        let relative = group.trim_start_matches('/');
        if self.is_unified() {
            return self.ensure_unified(relative, resources);
        }
        for controller in ["cpu", "memory", "pids"] {
            let Some(root) = self.hierarchy(controller) else { continue };
            let path = root.join(relative);
            fs::create_dir_all(&path).map_err(Error::io("creating cgroup", &path))?;
            for (file, value) in version_one(controller, resources) {
                write(&path.join(file), &value)?;
            }
        }
        Ok(())
    }

    fn ensure_unified(&self, relative: &str, resources: &Resources) -> Result<(), Error> {
        let Some(root) = &self.unified else { return Ok(()) };
        let mut path = root.clone();
        for part in relative.split('/') {
            // A controller that the parent does not have is one that limits cannot be set of: that is said below.
            for controller in ["+cpu", "+memory", "+pids", "+cpuset"] {
                let _ = fs::write(path.join("cgroup.subtree_control"), controller);
            }
            path.push(part);
            match fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("creating cgroup", &path)(error));
                }
                _ => {}
            }
        }
        for controller in ["+cpu", "+memory", "+pids", "+cpuset"] {
            let _ = fs::write(path.join("cgroup.subtree_control"), controller);
        }
        for (file, value) in version_two(resources) {
            write(&path.join(file), &value)?;
        }
        Ok(())
    }

    /// With all groups below; those that still hold a process stay and are an error.
    pub fn remove(&self, group: &str) -> Result<(), Error> {
        for root in self.roots() {
            remove_tree(&root.join(group.trim_start_matches('/')))?;
        }
        Ok(())
    }

    /// Names of the groups directly below, in any hierarchy.
    pub fn children(&self, group: &str) -> Vec<String> {
        let mut names = Vec::new();
        for root in self.roots() {
            let Ok(entries) = fs::read_dir(root.join(group.trim_start_matches('/'))) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }

    fn roots(&self) -> impl Iterator<Item = &Path> {
        self.hierarchies.iter().map(|(_, path)| path.as_path()).chain(self.unified.as_deref())
    }

    /// Has the kernel killed a process of the group for want of memory?
    pub fn was_oom_killed(&self, group: &str) -> bool {
        let relative = group.trim_start_matches('/');
        let files = [
            self.hierarchy("memory").map(|root| root.join(relative).join("memory.oom_control")),
            self.unified.as_ref().map(|root| root.join(relative).join("memory.events")),
        ];
        files.into_iter().flatten().filter_map(|file| fs::read_to_string(file).ok()).any(|text| {
            text.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
        })
    }

    pub fn usage(&self, group: &str) -> Option<Usage> {
        let relative = group.trim_start_matches('/');
        let number = |path: PathBuf| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
        let field = |path: PathBuf, name: &str| {
            let text = fs::read_to_string(path).ok()?;
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        let mut usage = Usage::default();
        let inactive;
        if self.is_unified() {
            let path = self.unified.as_ref()?.join(relative);
            usage.cpu_nanoseconds = field(path.join("cpu.stat"), "usage_usec ")? * 1000;
            usage.memory_bytes = number(path.join("memory.current"))?;
            inactive = field(path.join("memory.stat"), "inactive_file ").unwrap_or_default();
            usage.pids = number(path.join("pids.current")).unwrap_or_default();
        } else {
            let memory = self.hierarchy("memory")?.join(relative);
            usage.cpu_nanoseconds = number(self.hierarchy("cpuacct")?.join(relative).join("cpuacct.usage"))?;
            usage.memory_bytes = number(memory.join("memory.usage_in_bytes"))?;
            inactive = field(memory.join("memory.stat"), "total_inactive_file ").unwrap_or_default();
            let pids = self.hierarchy("pids").map(|root| root.join(relative).join("pids.current"));
            usage.pids = pids.and_then(number).unwrap_or_default();
        }
        usage.memory_working_set_bytes = usage.memory_bytes.saturating_sub(inactive);
        Some(usage)
    }
}

fn write(path: &Path, value: &str) -> Result<(), Error> {
    fs::write(path, value).map_err(Error::io("writing", path))
}

fn version_one(controller: &str, resources: &Resources) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    match controller {
        "cpu" => {
            files.extend(resources.cpu_shares.map(|shares| ("cpu.shares", shares.to_string())));
            if let Some(quota) = resources.cpu_quota {
                files.push(("cpu.cfs_period_us", resources.cpu_period.unwrap_or(DEFAULT_PERIOD).to_string()));
                files.push(("cpu.cfs_quota_us", quota.to_string()));
            }
        }
        "memory" => {
            files.extend(resources.memory_limit.map(|limit| ("memory.limit_in_bytes", limit.to_string())));
        }
        _ => files.extend(resources.pids_limit.map(|limit| ("pids.max", limit.to_string()))),
    }
    files
}

fn version_two(resources: &Resources) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    files.extend(resources.cpu_shares.map(|shares| ("cpu.weight", weight(shares).to_string())));
    if let Some(quota) = resources.cpu_quota {
        let period = resources.cpu_period.unwrap_or(DEFAULT_PERIOD);
        let quota = if quota < 0 { "max".to_string() } else { quota.to_string() };
        files.push(("cpu.max", format!("{quota} {period}")));
    }
    files.extend(resources.memory_limit.map(|limit| ("memory.max", limit.to_string())));
    files.extend(resources.pids_limit.map(|limit| ("pids.max", limit.to_string())));
    files
}

/// Shares of 2..=262144 to weights of 1..=10000, as runc converts them.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

fn remove_tree(path: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("listing cgroup", path)(error)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("removing cgroup", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";

    #[test]
    fn a_hybrid_host_limits_through_version_one() {
        let cgroups = Cgroups::from_mountinfo(HYBRID);
        assert!(!cgroups.is_unified());
        assert_eq!(cgroups.hierarchy("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        assert_eq!(cgroups.roots().count(), 3);
        let unified = Cgroups::from_mountinfo("33 30 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw");
        assert!(unified.is_unified());
    }

    #[test]
    fn resources_become_files() {
        let resources = Resources {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            memory_limit: Some(1 << 20),
            ..Resources::default()
        };
        assert_eq!(
            version_one("cpu", &resources),
            [
                ("cpu.shares", "1024".to_string()),
                ("cpu.cfs_period_us", "100000".to_string()),
                ("cpu.cfs_quota_us", "50000".to_string())
            ]
        );
        assert_eq!(
            version_two(&resources)[..2],
            [("cpu.weight", "39".to_string()), ("cpu.max", "50000 100000".to_string())]
        );
        assert_eq!((weight(2), weight(262_144)), (1, 10_000));
    }
}
