//! `keelson down`: stops processes and containers; with `--purge` nothing of the cluster is left on the machine.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::progress::Progress;
use crate::supervisor;
use crate::{machine, network, plan, slot};

const STOP_GRACE: Duration = Duration::from_secs(10);

pub async fn down(layout: &Layout, purge: bool) -> Result<()> {
    let Some(cluster) = Cluster::load(layout)? else {
        println!("There is no cluster below {}.", layout.root().display());
        return Ok(());
    };
    let mut progress = Progress::new(if purge { 4 } else { 2 });
    let facts = machine::facts();
    progress.step("Stopping the containers", stop_containers(layout, &cluster, &facts)).await?;
    progress.step("Stopping the processes", supervisor::stop(layout, &cluster, &facts)).await?;
    if !purge {
        println!("\nThe cluster is stopped. `keelson up` takes it up again; `keelson down --purge` removes it.");
        return Ok(());
    }
    progress.step("Removing network, mounts and cgroups", remove_kernel_state(layout, &cluster)).await?;
    progress.step("Removing the data", async { remove_files(layout, &cluster) }).await?;
    println!("\nNothing of the cluster is left.");
    Ok(())
}

/// Ends the agents first, so that nothing starts containers anew, then every container of every node.
async fn stop_containers(layout: &Layout, cluster: &Cluster, facts: &plan::Facts) -> Result<()> {
    supervisor::stop_agents(layout, cluster, facts).await;
    for node in cluster.node_names() {
        let group = cluster.cgroup_root(&node);
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let grace = if signal == Signal::SIGTERM { STOP_GRACE } else { Duration::from_secs(5) };
            signal_all(&group, signal);
            let _ = tokio::time::timeout(grace, until_empty(&group)).await;
        }
        forget_tasks(&layout.containerd_socket(&node));
        end_shims(&layout.containerd_socket(&node));
    }
    Ok(())
}

async fn until_empty(group: &str) {
    while !processes_in(group).is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn signal_all(group: &str, signal: Signal) {
    for pid in processes_in(group) {
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// Every process in a cgroup and those below it, in whichever hierarchy of v1 or v2 knows it.
fn processes_in(group: &str) -> Vec<i32> {
    let mut pids = Vec::new();
    for directory in group_directories(group) {
        visit(&directory, &mut |directory| {
            let text = std::fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        });
    }
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// The directories of a cgroup in all hierarchies.
fn group_directories(group: &str) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let relative = group.trim_start_matches('/');
    let mut hierarchies = vec![top.to_owned()];
    hierarchies.extend(std::fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path()));
    hierarchies
        .into_iter()
        .map(|hierarchy| hierarchy.join(relative))
        .filter(|directory| directory.join("cgroup.procs").exists())
        .collect()
}

/// Calls for each directory below one, the deepest first.
fn visit(directory: &Path, action: &mut impl FnMut(&Path)) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            visit(&entry.path(), action);
        }
    }
    action(directory);
}

/// Tells containerd to drop the tasks that ended, so that their shims end.
fn forget_tasks(socket: &Path) {
    let ctr = |arguments: &[&str]| {
        Command::new("ctr")
            .arg("--address")
            .arg(socket)
            .args(["--namespace", "k8s.io"])
            .args(arguments)
            .stderr(Stdio::null())
            .output()
    };
    let Ok(listed) = ctr(&["tasks", "list", "--quiet"]) else { return };
    for task in String::from_utf8_lossy(&listed.stdout).lines() {
        let _ = ctr(&["tasks", "delete", "--force", task]);
    }
}

/// Ends shims that still serve this containerd: those of a containerd that was down.
fn end_shims(socket: &Path) {
    let socket = socket.display().to_string();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = command.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let is_shim = words.next().is_some_and(|program| program.contains("containerd-shim"));
        if is_shim && words.any(|word| word == socket) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

async fn remove_kernel_state(layout: &Layout, cluster: &Cluster) -> Result<()> {
    network::remove(cluster).await?;
    unmount_below(&[layout.state(), layout.runtime()])?;
    for node in cluster.node_names() {
        remove_group(&cluster.cgroup_root(&node));
    }
    // The cluster's own group, above those of its nodes.
    if let Some((cluster_group, _)) = cluster.cgroup_root("").rsplit_once('/') {
        remove_group(cluster_group);
    }
    Ok(())
}

fn remove_group(group: &str) {
    for directory in group_directories(group) {
        visit(&directory, &mut |directory| {
            // A group that still has a process stays; the kernel says no.
            let _ = std::fs::remove_dir(directory);
        });
    }
}

/// Unmounts everything below the directories, the newest mount first.
fn unmount_below(directories: &[PathBuf]) -> Result<()> {
    let mounts = Path::new("/proc/self/mounts");
    let text = std::fs::read_to_string(mounts).map_err(|error| Error::file("read", mounts, error))?;
    for line in text.lines().rev() {
        let Some(target) = line.split(' ').nth(1) else { continue };
        let target = PathBuf::from(target.replace("\\040", " "));
        if directories.iter().any(|directory| target.starts_with(directory)) {
            umount2(&target, MntFlags::MNT_DETACH)
                .map_err(|error| Error::tried(format!("unmount {}", target.display()), error))?;
        }
    }
    Ok(())
}

fn remove_files(layout: &Layout, cluster: &Cluster) -> Result<()> {
    for directory in [layout.state(), layout.runtime(), layout.logs()] {
        crate::files::remove(&directory)?;
    }
    for node in cluster.node_names() {
        crate::files::remove(&layout.pod_logs(&node))?;
    }
    slot::release(cluster.slot)?;
    // The configuration last: while it is there, a purge that was cut short can be run again.
    crate::files::remove(&layout.configuration())
}
