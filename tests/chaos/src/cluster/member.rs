//! One member's process.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Shape;
use super::bound::bind;
use super::disk::RESERVE;
use super::network::address;
use crate::{Error, Result};

/// What a member's process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    Running,
    /// By SIGSTOP.
    Stopped,
    Dead,
}

pub struct Member {
    pub name: String,
    place: usize,
    directory: PathBuf,
    /// Membership flags: how this member comes to the others.
    pub flags: Vec<String>,
    child: Option<Child>,
    stopped: bool,
    /// Goes up when the member is wiped: a new member must not have the old one's name for its data.
    generation: u32,
}

impl Member {
    pub fn new(place: usize, directory: PathBuf) -> Self {
        let name = format!("m{}", place + 1);
        Self { name, place, directory, flags: Vec::new(), child: None, stopped: false, generation: 1 }
    }

    pub fn client_url(&self) -> String {
        format!("http://{}:2379", address(self.place))
    }

    pub fn peer_url(&self) -> String {
        format!("http://{}:2380", address(self.place))
    }

    /// As --initial-cluster names it.
    pub fn as_founder(&self) -> String {
        format!("{}={}", self.name, self.peer_url())
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.join(format!("data{}", self.generation))
    }

    pub fn log_file(&self) -> PathBuf {
        self.directory.with_extension("log")
    }

    pub fn process(&mut self) -> Process {
        match self.child.as_mut().map(Child::try_wait) {
            None | Some(Ok(Some(_))) => {
                self.child = None;
                Process::Dead
            }
            Some(_) if self.stopped => Process::Stopped,
            Some(_) => Process::Running,
        }
    }

    pub fn start(&mut self, shape: &Shape, namespace: &File) -> Result<()> {
        if self.process() != Process::Dead {
            return Ok(());
        }
        let log_file = self.log_file();
        let opened = File::options().create(true).append(true).open(&log_file);
        let log = opened.map_err(|error| Error::tried("open", log_file.display(), error))?;
        let errors = log.try_clone().map_err(|error| Error::tried("open", log_file.display(), error))?;
        let mut command = Command::new(&shape.binary);
        command
            .args(["--name", &self.name, "--data-dir"])
            .arg(self.data_dir())
            .args(["--listen-client-urls", &self.client_url(), "--listen-peer-urls", &self.peer_url()])
            .args(["--initial-advertise-peer-urls", &self.peer_url()])
            .args(["--disk-reserve-bytes", &if shape.small_disks { RESERVE } else { 1 << 20 }.to_string()])
            .args(&shape.flags)
            .args(&self.flags)
            .envs(shape.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        bind(&mut command, Some(namespace));
        let child = command.spawn().map_err(|error| Error::tried("start", shape.binary.display(), error))?;
        self.child = Some(child);
        self.stopped = false;
        Ok(())
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        self.stopped = false;
    }

    pub fn stop(&mut self) -> Result<()> {
        self.signal(Signal::SIGSTOP)?;
        self.stopped = self.child.is_some();
        Ok(())
    }

    pub fn resume(&mut self) -> Result<()> {
        self.stopped = false;
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let Some(child) = &self.child else { return Ok(()) };
        match kill(Pid::from_raw(child.id() as i32), signal) {
            Ok(()) | Err(nix::Error::ESRCH) => Ok(()),
            Err(error) => Err(Error::tried("signal", &self.name, error)),
        }
    }

    /// Kills it and forgets its data.
    pub fn wipe(&mut self) -> Result<()> {
        self.kill();
        let data = self.data_dir();
        self.generation += 1;
        match std::fs::remove_dir_all(&data) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::tried("remove", data.display(), error))
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
