//! What is known of a process on disk, and whether it is still that process.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layout::Layout;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub pid: i32,
    /// Field 22 of /proc/<pid>/stat: clock ticks since boot, which no later process of the same pid has.
    pub start_time: u64,
    /// Unix seconds.
    pub started_at: i64,
    /// How often the supervisor had to start it again since the cluster came up.
    pub restarts: u32,
    /// Program and arguments: a process of an older plan is replaced.
    pub command: Vec<String>,
}

impl Record {
    pub fn load(layout: &Layout, process: &str) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(layout.process_record(process)).ok()?).ok()
    }

    pub fn save(&self, layout: &Layout, process: &str) -> Result<()> {
        let text = serde_json::to_vec(self).expect("a record is always JSON");
        crate::files::write(&layout.process_record(process), &text, 0o644)
    }

    pub fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.start_time)
    }
}

/// The kernel's start time of a process, or None if there is no such process or it is a zombie.
pub fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The command in parentheses may hold anything; fields are counted after it.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    if fields.next()? == "Z" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_a_reused_pid_is_not() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let start_time = start_time(pid).expect("a start time");
        let record = Record { pid, start_time, started_at: 0, restarts: 0, command: Vec::new() };
        assert!(record.is_alive());
        assert!(!Record { start_time: start_time + 1, ..record }.is_alive());
    }
}
