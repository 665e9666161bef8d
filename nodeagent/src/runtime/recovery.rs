//! Taking up what containerd has: after a restart of the agent, or of containerd.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use containerd_client::services::v1::{ListContainersRequest, ListTasksRequest};
use containerd_client::types::v1::{Process, Status};

use super::containerd::failed;
use super::record::{KIND, Record, exit_of};
use super::table::Row;
use super::{ContainerState, Error, Exit, Runtime, container, events, sandbox};

impl Runtime {
    /// Makes the table agree with containerd; ends that nobody saw are settled on the way.
    pub(super) async fn recover(&self) -> Result<(), Error> {
        let containerd = &self.inner.containerd;
        let request = ListContainersRequest { filters: vec![format!("labels.\"{KIND}\"")] };
        let listed = containerd.containers().list(containerd.request(request)).await;
        let stored = listed.map_err(failed("listing containers"))?.into_inner().containers;
        let request = ListTasksRequest { filter: String::new() };
        let listed = containerd.tasks().list(containerd.request(request)).await;
        let tasks = listed.map_err(failed("listing tasks"))?.into_inner().tasks;
        // Of a list, containerd gives a task's id in one field or in the other.
        let tasks: HashMap<String, Process> = tasks
            .into_iter()
            .map(|task| (if task.container_id.is_empty() { task.id.clone() } else { task.container_id.clone() }, task))
            .collect();

        let known: HashSet<&str> = stored.iter().map(|one| one.id.as_str()).collect();
        // A sandbox on its way up is in the table before containerd has it.
        let coming: HashSet<String> =
            self.inner.table.sandboxes().into_iter().filter(|one| !one.ready).map(|one| one.id).collect();
        self.inner.table.retain(|id| known.contains(id) || coming.contains(id));
        for one in &stored {
            match Record::of(one) {
                Some(Record::Sandbox(record)) => self.recover_sandbox(&one.id, &record, tasks.get(&one.id)),
                Some(Record::Container(_)) => self.recover_container(one, tasks.get(&one.id)).await,
                None => {}
            }
        }
        Ok(())
    }

    fn recover_sandbox(&self, id: &str, record: &super::record::SandboxRecord, task: Option<&Process>) {
        let pid = task.filter(|task| task.status() == Status::Running).map(|task| task.pid);
        if self.inner.table.sandbox(id).is_some() {
            if pid.is_none() {
                self.sandbox_ended(id);
            }
            return;
        }
        let mut found = sandbox::from_record(id, record);
        if !record.host_network {
            found.netns = Some(self.inner.namespaces.path(id));
            found.ips = self.inner.network.addresses(id).unwrap_or_default();
        }
        // Without an address its network was never finished: it is to be made anew.
        found.ready = pid.is_some() && (record.host_network || !found.ips.is_empty());
        found.pid = pid.unwrap_or_default();
        self.inner.table.put_sandbox(found);
    }

    async fn recover_container(&self, stored: &containerd_client::services::v1::Container, task: Option<&Process>) {
        let id = stored.id.as_str();
        let Some(Record::Container(record)) = Record::of(stored) else { return };
        let known = self.inner.table.row(id);
        if known.as_ref().is_some_and(|row| row.container.exit().is_some()) {
            return;
        }
        let was_running = known.as_ref().is_some_and(|row| row.container.is_running());
        if known.is_none() {
            let mut container = container::from_record(id, &record);
            if let Some(exit) = exit_of(stored) {
                container.state = ContainerState::Exited(exit);
            }
            self.inner.table.put(Row { container, record: record.clone(), ending: false });
        }
        let ended = exit_of(stored).is_some();
        match task.map(|task| (task, task.status())) {
            // Its end is written down: only its task was not let go.
            Some((_, Status::Stopped)) if ended => {
                let _ = self.delete_task(id).await;
            }
            Some((task, Status::Stopped)) => {
                let finished_at = task.exited_at.map(events::system_time).unwrap_or_else(SystemTime::now);
                self.inner.table.change(id, |container| {
                    if container.state == ContainerState::Created {
                        let started_at = log_began(&record.log_path).unwrap_or(record.created_at).min(finished_at);
                        container.state = ContainerState::Running { started_at };
                    }
                });
                self.task_ended(id, task.exit_status as i32, finished_at).await;
            }
            Some((task, Status::Running | Status::Paused | Status::Pausing)) => {
                self.inner.table.change(id, |container| {
                    container.pid = task.pid;
                    if container.state == ContainerState::Created {
                        let started_at = process_started(task.pid).unwrap_or(record.created_at);
                        container.state = ContainerState::Running { started_at };
                    }
                });
            }
            // Made and not started: whoever made it starts it.
            Some(_) => {}
            None if ended => {}
            // It ran, and nobody can say how it ended: its shim is gone.
            None if was_running || record.log_path.exists() => {
                let exit = Exit {
                    started_at: log_began(&record.log_path),
                    finished_at: SystemTime::now(),
                    exit_code: 137,
                    signal: 0,
                    reason: "ContainerStatusUnknown".into(),
                    message: "The container could not be located when the pod was terminated".into(),
                };
                self.settle(id, exit).await;
            }
            None => {}
        }
    }

    /// Drops what no sandbox of ours claims: network namespaces, shared memory, CNI attachments, pipes, root file
    /// systems, and cgroups of pods below `cgroup_root`'s QoS groups. To be called while nothing is being made.
    pub async fn collect_garbage(&self, cgroup_root: &str) -> Result<(), Error> {
        let inner = &self.inner;
        let sandboxes = inner.table.sandboxes();
        let living: HashSet<String> = sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect();
        inner.network.collect_garbage(&living).await?;
        for name in inner.namespaces.names()? {
            if !living.contains(&name) {
                inner.namespaces.remove(&name)?;
            }
        }
        for name in names_in(&inner.options.state_dir.join("shm")) {
            if !living.contains(&name) {
                self.unmount_shared_memory(&name)?;
            }
        }
        for name in names_in(&inner.options.state_dir.join("io")) {
            if inner.table.row(&name).is_none() && !name.starts_with("exec-") {
                super::logs::remove_streams(&inner.options, &name)?;
            }
        }
        let mut containers = living.clone();
        let all = inner.table.containers(&super::ContainerFilter::default());
        containers.extend(all.into_iter().map(|container| container.id));
        for orphan in self.orphaned_snapshots(&containers).await? {
            self.remove_snapshot(&orphan).await?;
        }
        let used: HashSet<&str> = sandboxes.iter().map(|sandbox| sandbox.cgroup_parent.as_str()).collect();
        let root = cgroup_root.trim_end_matches('/');
        for parent in [root.to_string(), format!("{root}/burstable"), format!("{root}/besteffort")] {
            for name in inner.cgroups.children(&parent) {
                let group = format!("{parent}/{name}");
                if name.starts_with("pod") && !used.contains(group.as_str()) {
                    inner.cgroups.remove(&group)?;
                }
            }
        }
        Ok(())
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// The logger makes the file when the container starts.
fn log_began(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.created().ok()
}

/// From /proc: a process' start in clock ticks since the machine's.
fn process_started(pid: u32) -> Option<SystemTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may hold anything, spaces and parentheses too.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??.max(1) as u64;
    let since_boot = Duration::from_millis(ticks * 1000 / per_second);
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(boot) + since_boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_start_is_a_moment_ago() {
        let started = process_started(std::process::id()).expect("from /proc");
        let age = SystemTime::now().duration_since(started).unwrap_or_default();
        assert!(age < Duration::from_secs(3600), "{age:?}");
    }
}
