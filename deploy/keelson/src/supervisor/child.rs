//! One running process: started here, or found again.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, setsid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Record;
use super::record::start_time;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::plan::ProcessSpec;

pub struct Child {
    pid: Pid,
    descriptor: AsyncFd<OwnedFd>,
}

impl Child {
    /// Starts a process in a session of its own, with its output appended to its log, and records it.
    pub fn start(layout: &Layout, spec: &ProcessSpec, restarts: u32) -> Result<Self> {
        let log_path = layout.log(&spec.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o640)
            .open(&log_path)
            .map_err(|error| Error::file("open", &log_path, error))?;
        let errors = log.try_clone().map_err(|error| Error::file("open", &log_path, error))?;
        let namespace = match &spec.namespace {
            Some(name) => {
                let path = crate::network::namespace_file(name);
                Some(std::fs::File::open(&path).map_err(|error| Error::file("open", &path, error))?)
            }
            None => None,
        };
        let mut command = Command::new(&spec.program);
        command.args(&spec.arguments).stdin(Stdio::null()).stdout(log).stderr(errors);
        // SAFETY: between fork and exec the closure makes two system calls and touches no memory that other threads may
        // have left in an odd state.
        unsafe {
            command.pre_exec(move || {
                setsid()?;
                if let Some(namespace) = &namespace {
                    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
                }
                Ok(())
            });
        }
        let child = command.spawn().map_err(|error| Error::file("start", &spec.program, error))?;
        let pid = i32::try_from(child.id()).expect("the kernel's pids are positive");
        let record = Record {
            pid,
            // Gone already: then no record is right, and the pidfd tells of the end.
            start_time: start_time(pid).unwrap_or(0),
            started_at: jiff::Timestamp::now().as_second(),
            restarts,
            command: command_of(spec),
        };
        record.save(layout, &spec.name)?;
        Self::open(pid)
    }

    /// Takes up a process that runs from before, if it is the one that the plan wants.
    pub fn adopt(layout: &Layout, spec: &ProcessSpec) -> Option<(Self, Record)> {
        let record = Record::load(layout, &spec.name)?;
        if !record.is_alive() {
            return None;
        }
        Some((Self::open(record.pid).ok()?, record))
    }

    pub fn fits(record: &Record, spec: &ProcessSpec) -> bool {
        record.command == command_of(spec)
    }

    fn open(pid: i32) -> Result<Self> {
        // SAFETY: pidfd_open takes two integers and returns a new descriptor or an error.
        let descriptor = unsafe { nix::libc::syscall(nix::libc::SYS_pidfd_open, pid, 0) };
        let descriptor = i32::try_from(descriptor).unwrap_or(-1);
        if descriptor < 0 {
            return Err(Error::tried(format!("watch process {pid}"), std::io::Error::last_os_error()));
        }
        // SAFETY: the descriptor was made one line above and belongs to nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // SAFETY: the descriptor is owned by the AsyncFd from here on and stays open as long as it.
        let descriptor = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
            .map_err(std::io::Error::from)
            .map_err(|error| Error::tried(format!("watch process {pid}"), error))?;
        Ok(Self { pid: Pid::from_raw(pid), descriptor })
    }

    /// Waits for the end; says how it ended where the kernel tells (it does for children).
    pub async fn ended(&self) -> String {
        let _ = self.descriptor.readable().await;
        match waitpid(self.pid, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(_, code)) => format!("exited with code {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("was killed by {signal}"),
            _ => "ended".to_owned(),
        }
    }

    /// Asks the process to end, and kills it if it has not done so in time.
    pub async fn stop(&self, grace: Duration) {
        let _ = kill(self.pid, Signal::SIGTERM);
        if tokio::time::timeout(grace, self.ended()).await.is_err() {
            let _ = kill(self.pid, Signal::SIGKILL);
            self.ended().await;
        }
    }
}

fn command_of(spec: &ProcessSpec) -> Vec<String> {
    let mut command = vec![spec.program.display().to_string()];
    command.extend(spec.arguments.iter().cloned());
    command
}
