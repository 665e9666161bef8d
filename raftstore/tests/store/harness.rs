//! Members as processes in directories of their own, on ports of the loopback; all of it goes with the test.

use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::kv_client::KvClient;
use tempfile::TempDir;
use tonic::transport::Channel;

/// A bound for what should take far less: a machine under load is slow, a hang is longer.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A loopback address that is this process' alone. A port found free on 127.0.0.1 may be the source port of somebody's
/// connection by the time it is bound (source addresses are 127.0.0.1), or be found by a second process too.
pub fn own_loopback() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 63), middle, low)
}

/// A port of [`own_loopback`] that nobody else in this process has.
pub fn own_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(2379);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub struct Member {
    pub name: String,
    pub client_port: u16,
    pub peer_port: u16,
    pub data_dir: PathBuf,
    pub flags: Vec<String>,
    /// Runs the member under this command (strace).
    pub wrapper: Vec<String>,
    /// The others reach it at this address instead of the one that it listens at.
    pub proxy: Option<std::net::SocketAddr>,
    process: Option<Child>,
}

impl Member {
    pub fn new(name: &str, data_dir: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            client_port: own_port(),
            peer_port: own_port(),
            data_dir,
            flags: Vec::new(),
            wrapper: Vec::new(),
            proxy: None,
            process: None,
        }
    }

    /// As the others know it.
    pub fn peer_url(&self) -> String {
        self.proxy.map_or_else(|| format!("http://{}", self.peer_address()), |proxy| format!("http://{proxy}"))
    }

    /// Where it listens.
    pub fn peer_address(&self) -> std::net::SocketAddr {
        (own_loopback(), self.peer_port).into()
    }

    /// The value of one of its metrics, if it was started with --listen-metrics-urls at this address.
    pub async fn metric(address: std::net::SocketAddr, name: &str) -> Option<f64> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        text.lines().find_map(|line| line.split_once(' ').filter(|(found, _)| *found == name))?.1.parse().ok()
    }

    pub fn client_url(&self) -> String {
        format!("http://{}:{}", own_loopback(), self.client_port)
    }

    pub fn start(&mut self) {
        let binary = env!("CARGO_BIN_EXE_raftstore");
        let mut words = self.wrapper.clone();
        words.push(binary.to_owned());
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.data_dir.with_extension("log"))
            .expect("a log file");
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["--name", &self.name, "--log-level", "info", "--data-dir"])
            .arg(&self.data_dir)
            .args(["--disk-reserve-bytes", "1048576"])
            .args(["--listen-client-urls", &self.client_url()])
            .args(["--listen-peer-urls", &format!("http://{}", self.peer_address())])
            .args(["--initial-advertise-peer-urls", &self.peer_url()])
            .args(&self.flags)
            // Its own group: a wrapper that is killed must not leave the member behind.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.process = Some(command.spawn().expect("the member starts"));
    }

    /// SIGKILL: nothing of the process gets a word in.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let group = format!("-{}", process.id());
            let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
            let _ = process.wait();
        }
    }

    /// SIGTERM, and waits for the end. Whether it ended well.
    pub fn stop(&mut self) -> bool {
        let Some(mut process) = self.process.take() else { return true };
        let asked = Command::new("kill").arg(process.id().to_string()).status().expect("kill runs");
        assert!(asked.success());
        process.wait().expect("it ends").success()
    }

    /// Waits until the member ends by itself, which must be with an error, and gives its log.
    pub async fn fails(&mut self) -> String {
        let mut process = self.process.take().expect("it was started");
        let started = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().expect("a child") {
                break status;
            }
            assert!(started.elapsed() < PATIENCE, "{} does not end", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(!status.success(), "{} ended well", self.name);
        std::fs::read_to_string(self.data_dir.with_extension("log")).expect("a log")
    }

    pub async fn kv(&self) -> KvClient<Channel> {
        let channel = self.channel().await;
        KvClient::new(channel).max_decoding_message_size(usize::MAX)
    }

    /// The term that this member is in.
    pub async fn term(&self) -> u64 {
        let mut maintenance = etcd::maintenance_client::MaintenanceClient::new(self.channel().await);
        maintenance.status(etcd::StatusRequest {}).await.expect("a status").into_inner().raft_term
    }

    /// Connects as soon as the door is open.
    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(self.client_url()).expect("a URL");
        let started = Instant::now();
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(error) => {
                    let log = || std::fs::read_to_string(self.data_dir.with_extension("log")).unwrap_or_default();
                    assert!(started.elapsed() < PATIENCE, "{} does not answer: {error}\n{}", self.name, log());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Members that found a cluster together.
pub struct Cluster {
    pub members: Vec<Member>,
    pub directory: TempDir,
}

impl Cluster {
    pub fn new(count: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let names: Vec<String> = (1..=count).map(|number| format!("m{number}")).collect();
        let mut members: Vec<Member> =
            names.iter().map(|name| Member::new(name, directory.path().join(name))).collect();
        let initial: Vec<String> =
            members.iter().map(|member| format!("{}={}", member.name, member.peer_url())).collect();
        for member in &mut members {
            member.flags = vec!["--initial-cluster".to_owned(), initial.join(",")];
        }
        Self { members, directory }
    }

    pub fn started(count: usize) -> Self {
        let mut cluster = Self::new(count);
        cluster.members.iter_mut().for_each(Member::start);
        cluster
    }

    /// Every member that was started takes part. A founding member that has not come so far cannot stand in for one that
    /// is killed: with that one away nobody can tell whether it is new.
    pub async fn ready(&self) {
        for member in self.members.iter().filter(|member| member.process.is_some()) {
            member.channel().await;
        }
    }

    /// The member that the others follow, by its place.
    pub async fn leader(&self) -> usize {
        self.ready().await;
        let started = Instant::now();
        loop {
            for (place, member) in self.members.iter().enumerate() {
                if member.process.is_none() {
                    continue;
                }
                let channel = member.channel().await;
                let mut maintenance = etcd::maintenance_client::MaintenanceClient::new(channel);
                if let Ok(status) = maintenance.status(etcd::StatusRequest {}).await {
                    let status = status.into_inner();
                    if status.header.is_some_and(|header| header.member_id == status.leader) {
                        return place;
                    }
                }
            }
            assert!(started.elapsed() < PATIENCE, "nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub fn put(key: &str, value: impl Into<bytes::Bytes>) -> etcd::PutRequest {
    etcd::PutRequest { key: key.to_owned().into(), value: value.into(), ..Default::default() }
}

pub fn get(key: &str) -> etcd::RangeRequest {
    etcd::RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

pub fn prefix(prefix: &str) -> etcd::RangeRequest {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().expect("not empty") += 1;
    etcd::RangeRequest { key: prefix.to_owned().into(), range_end: end.into(), ..Default::default() }
}
