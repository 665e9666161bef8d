//! When the node is short of memory, disk or process ids: `--eviction-hard`.

use std::io;
use std::path::Path;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use nix::sys::statvfs::statvfs;

use super::capacity::meminfo;
use crate::resources::quantity_value;

/// An amount, or a part of the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Amount {
    Bytes(u64),
    Percent(f64),
}

impl Amount {
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Amount::Bytes(bytes) => bytes,
            // The share of a size in bytes: its fraction of a byte does not matter.
            Amount::Percent(percent) => (whole as f64 * percent / 100.0) as u64,
        }
    }
}

/// What must stay free.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    pub memory_available: Option<Amount>,
    pub disk_available: Option<Amount>,
    pub pid_available: Option<Amount>,
}

impl Thresholds {
    /// From `memory.available<100Mi` and the like. Signals of file systems that are not told apart here are taken note of.
    pub fn parse(texts: &[String]) -> Result<Thresholds, String> {
        let mut thresholds = Thresholds::default();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let (signal, amount) = text.split_once('<').ok_or_else(|| format!("{text:?} is not signal<amount"))?;
            let amount = parse_amount(amount).ok_or_else(|| format!("{text:?} has no amount or percentage"))?;
            match signal {
                "memory.available" => thresholds.memory_available = Some(amount),
                "nodefs.available" => thresholds.disk_available = Some(amount),
                "pid.available" => thresholds.pid_available = Some(amount),
                "imagefs.available" | "nodefs.inodesFree" | "imagefs.inodesFree" | "containerfs.available" => {}
                other => return Err(format!("{other:?} is not a known eviction signal")),
            }
        }
        Ok(thresholds)
    }
}

fn parse_amount(text: &str) -> Option<Amount> {
    if let Some(percent) = text.strip_suffix('%') {
        return percent.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)).map(Amount::Percent);
    }
    text.parse::<keelson_objects::quantity::Quantity>().ok()?;
    u64::try_from(quantity_value(&Quantity(text.to_owned()))).ok().map(Amount::Bytes)
}

/// Which conditions hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

/// Reads the node's state; `root` lies on the disk that counts.
pub fn read(root: &Path, thresholds: &Thresholds) -> io::Result<Pressure> {
    let short = |threshold: Option<Amount>, free: u64, whole: u64| {
        threshold.is_some_and(|threshold| free < threshold.of(whole))
    };
    let disk = statvfs(root)?;
    let disk_free = disk.blocks_available() * disk.fragment_size();
    let disk_whole = disk.blocks() * disk.fragment_size();
    let (pids_used, pids_whole) = pids()?;
    Ok(Pressure {
        memory: short(thresholds.memory_available, meminfo("MemAvailable")?, meminfo("MemTotal")?),
        disk: short(thresholds.disk_available, disk_free, disk_whole),
        pids: short(thresholds.pid_available, pids_whole.saturating_sub(pids_used), pids_whole),
    })
}

/// Threads that exist, and how many may.
fn pids() -> io::Result<(u64, u64)> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what} is not readable"));
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let used = load.split(' ').nth(3).and_then(|field| field.split_once('/')?.1.parse().ok());
    let whole = std::fs::read_to_string("/proc/sys/kernel/pid_max")?.trim().parse().ok();
    used.zip(whole).ok_or_else(|| invalid("/proc/loadavg or pid_max"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_amounts_or_parts() {
        let texts = ["memory.available<100Mi".to_owned(), "nodefs.available<10%".to_owned()];
        let thresholds = Thresholds::parse(&texts).expect("thresholds");
        assert_eq!(thresholds.memory_available, Some(Amount::Bytes(100 << 20)));
        assert_eq!(thresholds.disk_available.map(|amount| amount.of(1000)), Some(100));
        for wrong in ["memory.available", "memory.available<x", "luck<5%", "nodefs.available<200%"] {
            assert!(Thresholds::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert_eq!(read(Path::new("/"), &Thresholds::default()).expect("readings"), Pressure::default());
    }
}
