//! The supervisor's own process, `keelson supervise`.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Record;
use super::child::Child;
use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::plan::{self, ProcessSpec, Stage};

const NAME: &str = "supervisor";
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A process that ran this long was well: its next restart is quick again.
const STEADY: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(15);
const LOG_LIMIT: u64 = 16 << 20;
const LOG_CHECK: Duration = Duration::from_secs(20);

fn lock(layout: &Layout) -> Result<Option<Flock<File>>> {
    let path = layout.supervisor_lock();
    let file =
        OpenOptions::new().create(true).append(true).open(&path).map_err(|error| Error::file("open", &path, error))?;
    Ok(Flock::lock(file, FlockArg::LockExclusiveNonblock).ok())
}

/// Whether a supervisor runs for the cluster.
pub fn is_running(layout: &Layout) -> bool {
    layout.supervisor_lock().exists() && lock(layout).is_ok_and(|lock| lock.is_none())
}

/// Starts the supervisor in the background, unless one runs; one that runs takes up the plan anew.
pub fn start(layout: &Layout) -> Result<()> {
    if is_running(layout) {
        if let Some(record) = Record::load(layout, NAME).filter(Record::is_alive) {
            let _ = kill(Pid::from_raw(record.pid), Signal::SIGHUP);
        }
        return Ok(());
    }
    let log_path = layout.log(NAME);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log_path)
        .map_err(|error| Error::file("open", &log_path, error))?;
    let errors = log.try_clone().map_err(|error| Error::file("open", &log_path, error))?;
    let program = std::env::current_exe().map_err(|error| Error::tried("find the keelson binary", error))?;
    let mut command = Command::new(&program);
    command.arg("supervise").arg("--root").arg(layout.root()).stdin(Stdio::null()).stdout(log).stderr(errors);
    command.current_dir("/");
    // SAFETY: setsid is one system call without arguments.
    unsafe {
        command.pre_exec(|| Ok(setsid().map(drop)?));
    }
    command.spawn().map(drop).map_err(|error| Error::file("start", &program, error))
}

/// Ends the supervisor without its processes, then the node agents, so that containers can be ended for good.
pub async fn stop_agents(layout: &Layout, cluster: &Cluster, facts: &plan::Facts) {
    if let Some(record) = Record::load(layout, NAME).filter(Record::is_alive) {
        let _ = kill(Pid::from_raw(record.pid), Signal::SIGKILL);
    }
    for process in plan::processes(cluster, layout, facts).iter().filter(|process| process.stage == Stage::Agent) {
        if let Some((child, _)) = Child::adopt(layout, process) {
            child.stop(GRACE).await;
        }
    }
}

/// Stops the supervisor and with it every process, in order. Returns when all have ended.
pub async fn stop(layout: &Layout, cluster: &Cluster, facts: &plan::Facts) -> Result<()> {
    if let Some(record) = Record::load(layout, NAME).filter(Record::is_alive) {
        let _ = kill(Pid::from_raw(record.pid), Signal::SIGTERM);
        while record.is_alive() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    // A supervisor that was killed left its processes.
    let mut processes = plan::processes(cluster, layout, facts);
    processes.sort_by_key(|process| process.stage);
    for process in processes {
        if let Some((child, _)) = Child::adopt(layout, &process) {
            child.stop(GRACE).await;
        }
        crate::files::remove(&layout.process_record(&process.name))?;
    }
    crate::files::remove(&layout.process_record(NAME))
}

/// The supervisor's life: ends on SIGTERM or SIGINT after it has ended its processes.
pub async fn run(layout: Layout, facts: plan::Facts) -> Result<()> {
    let Some(_lock) = lock(&layout)? else {
        return Err(Error::new("a supervisor runs for this cluster already"));
    };
    let pid = i32::try_from(std::process::id()).expect("the kernel's pids are positive");
    let record = Record {
        pid,
        start_time: super::record::start_time(pid).unwrap_or(0),
        started_at: jiff::Timestamp::now().as_second(),
        restarts: 0,
        command: Vec::new(),
    };
    record.save(&layout, NAME)?;
    let failed = |error: std::io::Error| Error::tried("listen for signals", error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut reload = signal(SignalKind::hangup()).map_err(failed)?;
    loop {
        let cluster = Cluster::load(&layout)?
            .ok_or_else(|| Error::new("there is no cluster here").hint("make one with `keelson up`"))?;
        let (stage, stages) = watch::channel(None::<Stage>);
        let keepers: Vec<_> = plan::processes(&cluster, &layout, &facts)
            .into_iter()
            .map(|spec| (spec.stage, tokio::spawn(keep(layout.clone(), spec, stages.clone()))))
            .collect();
        let stop = tokio::select! {
            _ = terminate.recv() => true,
            _ = interrupt.recv() => true,
            _ = reload.recv() => false,
        };
        if !stop {
            // The processes run on; the next round takes them up, or replaces those whose arguments changed.
            keepers.iter().for_each(|(_, keeper)| keeper.abort());
            continue;
        }
        tracing::info!("stopping the cluster's processes");
        let mut keepers = keepers;
        keepers.sort_by_key(|(stage, _)| *stage);
        while let Some(current) = keepers.first().map(|(stage, _)| *stage) {
            let _ = stage.send(Some(current));
            let rest = keepers.iter().position(|(other, _)| *other != current).unwrap_or(keepers.len());
            for (_, keeper) in keepers.drain(..rest) {
                let _ = keeper.await;
            }
        }
        return crate::files::remove(&layout.process_record(NAME));
    }
}

/// Keeps one process running until its stage is stopped.
async fn keep(layout: Layout, spec: ProcessSpec, mut stages: watch::Receiver<Option<Stage>>) {
    let mut restarts = 0;
    let mut backoff = FIRST_BACKOFF;
    let mut found = Child::adopt(&layout, &spec);
    if let Some((child, record)) = found.take_if(|(_, record)| !Child::fits(record, &spec)) {
        tracing::info!(process = spec.name, pid = record.pid, "replacing a process of an older plan");
        child.stop(GRACE).await;
    }
    loop {
        let child = match found.take() {
            Some((child, record)) => {
                tracing::info!(process = spec.name, pid = record.pid, "took up a running process");
                restarts = record.restarts;
                Ok(child)
            }
            None => Child::start(&layout, &spec, restarts),
        };
        let since = Instant::now();
        match child {
            Err(error) => tracing::error!(process = spec.name, %error, "cannot start"),
            Ok(child) => {
                let mut check = tokio::time::interval(LOG_CHECK);
                let outcome = loop {
                    tokio::select! {
                        outcome = child.ended() => break outcome,
                        _ = check.tick() => bound_log(&layout, &spec.name),
                        () = stopping(&mut stages, spec.stage) => {
                            child.stop(GRACE).await;
                            let _ = crate::files::remove(&layout.process_record(&spec.name));
                            return;
                        }
                    }
                };
                tracing::error!(process = spec.name, outcome, "process ended; starting it again");
            }
        }
        backoff = if since.elapsed() > STEADY { FIRST_BACKOFF } else { (backoff * 2).min(LAST_BACKOFF) };
        restarts += 1;
        tokio::select! {
            () = tokio::time::sleep(backoff) => {}
            () = stopping(&mut stages, spec.stage) => return,
        }
    }
}

/// Resolves when the turn of a stage to stop has come, or when the supervisor is gone.
async fn stopping(stages: &mut watch::Receiver<Option<Stage>>, own: Stage) {
    let _ = stages.wait_for(|current| current.is_some_and(|current| current >= own)).await;
}

/// Sets a log that has grown too large aside. The process appends, so emptying its file is safe.
fn bound_log(layout: &Layout, process: &str) {
    let path = layout.log(process);
    let too_large = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_LIMIT);
    if too_large && std::fs::copy(&path, path.with_extension("log.1")).is_ok() {
        let _ = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(0));
    }
}
