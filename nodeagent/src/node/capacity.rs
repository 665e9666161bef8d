//! What the node has, and what of it pods may have.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use nix::sys::statvfs::statvfs;

use super::pressure::{Amount, Thresholds};
use crate::resources::{quantity_milli, quantity_value};

pub type Resources = BTreeMap<String, Quantity>;

/// Raw readings.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    pub cpus: usize,
    pub memory_bytes: u64,
    /// Of the file system that pods write to.
    pub disk_bytes: u64,
}

impl Machine {
    /// Reads them; `root` lies on the disk that counts.
    pub fn read(root: &Path) -> io::Result<Machine> {
        let cpus = std::thread::available_parallelism()?.get();
        let memory_bytes = meminfo("MemTotal")?;
        let disk = statvfs(root)?;
        let disk_bytes = disk.blocks() * disk.fragment_size();
        Ok(Machine { cpus, memory_bytes, disk_bytes })
    }
}

/// A field of /proc/meminfo, in bytes.
pub fn meminfo(field: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    text.lines()
        .find_map(|line| {
            let value = line.strip_prefix(field)?.strip_prefix(':')?;
            value.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        })
        .map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/meminfo has no {field}")))
}

/// The node's capacity, in the units in which upstream writes it.
pub fn capacity(machine: &Machine, max_pods: u32) -> Resources {
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(machine.cpus.to_string())),
        ("memory".to_owned(), Quantity(format!("{}Ki", machine.memory_bytes / 1024))),
        ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", machine.disk_bytes / 1024))),
        ("pods".to_owned(), Quantity(max_pods.to_string())),
    ])
}

/// Capacity without what is reserved and what must stay free.
pub fn allocatable(machine: &Machine, max_pods: u32, reserved: &[Resources], thresholds: &Thresholds) -> Resources {
    let kept = |name: &str, read: fn(&Quantity) -> i64| -> i64 {
        reserved.iter().filter_map(|resources| resources.get(name)).map(read).sum()
    };
    let total = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
    let free = |threshold: Option<Amount>, of: u64| total(threshold.map_or(0, |amount| amount.of(of)));

    let cpu = total(machine.cpus as u64 * 1000) - kept("cpu", quantity_milli);
    let memory = total(machine.memory_bytes)
        - kept("memory", quantity_value)
        - free(thresholds.memory_available, machine.memory_bytes);
    let disk = total(machine.disk_bytes)
        - kept("ephemeral-storage", quantity_value)
        - free(thresholds.disk_available, machine.disk_bytes);
    let cpu = if cpu % 1000 == 0 { (cpu / 1000).to_string() } else { format!("{cpu}m") };
    BTreeMap::from([
        ("cpu".to_owned(), Quantity(cpu)),
        ("memory".to_owned(), Quantity(format!("{}Ki", memory.max(0) / 1024))),
        ("ephemeral-storage".to_owned(), Quantity(disk.max(0).to_string())),
        ("pods".to_owned(), Quantity(max_pods.to_string())),
    ])
}

/// `cpu=100m`, `memory=1Gi` … as resources.
pub fn parse_reserved(pairs: &[String]) -> Result<Resources, String> {
    let mut resources = Resources::new();
    for pair in pairs.iter().filter(|pair| !pair.is_empty()) {
        let (name, amount) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not resource=amount"))?;
        amount.parse::<keelson_objects::quantity::Quantity>().map_err(|error| format!("{pair:?}: {error}"))?;
        resources.insert(name.to_owned(), Quantity(amount.to_owned()));
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocatable_is_what_is_left() {
        let machine = Machine { cpus: 2, memory_bytes: 4 << 30, disk_bytes: 100 << 30 };
        let thresholds = Thresholds::parse(&["memory.available<100Mi".to_owned(), "nodefs.available<10%".to_owned()])
            .expect("thresholds");
        let reserved = parse_reserved(&["cpu=100m".to_owned(), "memory=1Gi".to_owned()]).expect("amounts");
        let left = allocatable(&machine, 110, &[reserved], &thresholds);
        let amount = |name: &str| left.get(name).map(|quantity| quantity.0.clone());
        assert_eq!(amount("cpu").as_deref(), Some("1900m"));
        assert_eq!(amount("memory").as_deref(), Some("3043328Ki"));
        assert_eq!(amount("ephemeral-storage").as_deref(), Some("96636764160"));
        assert_eq!(capacity(&machine, 110)["memory"].0, "4194304Ki");
        assert!(parse_reserved(&["cpu".to_owned()]).is_err());
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::read(Path::new("/")).expect("readings");
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && machine.disk_bytes > 0);
    }
}
