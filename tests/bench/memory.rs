//! Memory of the cluster's processes: resident set size, as upstream's numbers are.

use keelson_tests::harness::{Cluster, Result};

/// The sum over the processes whose names start with a prefix, in MB as upstream's numbers are given.
pub fn megabytes(cluster: &Cluster, prefixes: &[&str]) -> Result<f64> {
    let mut kilobytes = 0;
    for process in cluster.processes()? {
        if prefixes.iter().any(|prefix| process.starts_with(prefix)) {
            kilobytes += resident(cluster.pid_of(&process)?)?;
        }
    }
    Ok(kilobytes as f64 / 1024.0)
}

fn resident(pid: i32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).ok_or("a process has a VmRSS line")?;
    Ok(line.split_whitespace().nth(1).ok_or("VmRSS has a value")?.parse()?)
}
