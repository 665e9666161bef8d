//! One cluster of real members, their processor time, memory and disk.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use keelson_wire::etcdserverpb as etcd;

use crate::Result;
use crate::client::ask;
use crate::messages::framed;

pub struct Cluster {
    pub members: Vec<Member>,
    directory: tempfile::TempDir,
}

pub struct Member {
    name: String,
    binary: PathBuf,
    data: PathBuf,
    pub address: SocketAddr,
    peer: SocketAddr,
    founders: String,
    process: Option<Child>,
}

pub fn binary(server: &str) -> Result<PathBuf> {
    Ok(match server {
        "raftstore" => std::env::current_exe()?.with_file_name("raftstore"),
        "etcd" => PathBuf::from("/usr/bin/etcd"),
        path => PathBuf::from(path),
    })
}

impl Cluster {
    pub async fn start(binary: &Path, count: usize, directory: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("store-bench-").tempdir_in(directory)?;
        // All are held until all are chosen.
        let doors: Vec<TcpListener> =
            (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
        let addresses: Vec<SocketAddr> = doors.iter().map(TcpListener::local_addr).collect::<std::io::Result<_>>()?;
        drop(doors);
        let founders = (0..count).map(|at| format!("member{at}=http://{}", addresses[count + at]));
        let founders = founders.collect::<Vec<_>>().join(",");
        let members = (0..count).map(|at| Member {
            name: format!("member{at}"),
            binary: binary.to_owned(),
            data: directory.path().join(format!("member{at}")),
            address: addresses[at],
            peer: addresses[count + at],
            founders: founders.clone(),
            process: None,
        });
        let mut cluster = Self { members: members.collect(), directory };
        for member in &mut cluster.members {
            member.start()?;
        }
        cluster.leader().await?;
        Ok(cluster)
    }

    /// The leader's place, as soon as there is one that all know.
    pub async fn leader(&self) -> Result<usize> {
        for _ in 0..3_000 {
            let mut leaders = Vec::new();
            for member in &self.members {
                leaders.push(member.sees_itself_lead().await.unwrap_or(None));
            }
            if leaders.iter().all(Option::is_some)
                && let Some(leader) = leaders.iter().position(|leads| *leads == Some(true))
            {
                return Ok(leader);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("no leader within half a minute".into())
    }

    fn sum(&self, of: impl Fn(u32) -> u64) -> u64 {
        self.members.iter().filter_map(|member| member.process.as_ref()).map(|process| of(process.id())).sum()
    }

    /// Of all members, in microseconds.
    pub fn processor_time(&self) -> u64 {
        self.sum(|id| {
            let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
            // utime and stime, a hundred a second.
            (ticks(11) + ticks(12)) * 10_000
        })
    }

    /// The members' resident set size and the highest that it was, in megabytes, each on average.
    pub fn memory(&self) -> (u64, u64) {
        let of = |name: &str| {
            let all = self.sum(|id| {
                let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
                line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0)
            });
            all / 1024 / self.members.len() as u64
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    /// Megabytes that the members' files take, on average.
    pub fn disk(&self) -> u64 {
        size(self.directory.path()) / (1 << 20) / self.members.len() as u64
    }
}

fn size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

impl Member {
    pub fn start(&mut self) -> Result<()> {
        let client = format!("http://{}", self.address);
        let peer = format!("http://{}", self.peer);
        let process = Command::new(&self.binary)
            .args(["--name", &self.name, "--data-dir"])
            .arg(&self.data)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &self.founders, "--quota-backend-bytes", "8000000000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.binary.display()))?;
        self.process = Some(process);
        Ok(())
    }

    /// As kill -9 does.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended on its own; waiting reaps it either way.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    pub fn terminate(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(process.id() as i32), nix::sys::signal::Signal::SIGTERM)?;
        process.wait()?;
        Ok(())
    }

    /// None: it knows of no leader.
    async fn sees_itself_lead(&self) -> Result<Option<bool>> {
        let frame = framed(&etcd::StatusRequest::default());
        let asked = ask::<etcd::StatusResponse>(self.address, "/etcdserverpb.Maintenance/Status", &frame);
        let status = tokio::time::timeout(Duration::from_secs(1), asked).await??;
        let own = status.header.map(|header| header.member_id);
        Ok((status.leader != 0).then(|| own == Some(status.leader)))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}
