//! Puts, transactions, reads and watches against raftstore and, where Debian's etcd is installed, against it too: the
//! same client, the same disk, one after the other, in one run.
//!
//! `cargo run --release -p raftstore --example raftstore-bench -- [--seconds 5] [--directory DIR] [--endpoint URL]`

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use keelson_wire::etcdserverpb as etcd;
use keelson_wire::etcdserverpb::kv_client::KvClient;
use keelson_wire::store::call::Request as Asked;
use keelson_wire::store::{Call, PipelineRequest, store_client::StoreClient};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Options {
    /// Seconds for each row
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Where the servers keep their data; the disk that is measured
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    value: usize,
    /// Measure a server that is running already, and no other
    #[arg(long)]
    endpoint: Option<String>,
}

struct Server {
    name: &'static str,
    url: String,
    process: Child,
    _data: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(name: &'static str, binary: &Path, directory: &Path) -> Result<Self, Failure> {
        let port = || TcpListener::bind("127.0.0.1:0").and_then(|listener| Ok(listener.local_addr()?.port()));
        let (url, peer) = (format!("http://127.0.0.1:{}", port()?), format!("http://127.0.0.1:{}", port()?));
        let data = tempfile::tempdir_in(directory)?;
        let process = Command::new(binary)
            .args(["--name", "bench", "--data-dir"])
            .arg(data.path().join("data"))
            .args(["--listen-client-urls", &url, "--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("bench={peer}"), "--quota-backend-bytes", "8000000000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { name, url, process, _data: data })
    }

    /// Resident megabytes.
    fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1024
    }
}

/// What one row measured: calls a second, and the median and 99th percentile in milliseconds.
struct Row {
    rate: f64,
    median: f64,
    high: f64,
}

#[derive(Clone, Copy)]
enum Work {
    Put,
    Txn,
    Read,
    SerializableRead,
    Pipeline,
}

async fn connect(url: &str) -> Result<Channel, Failure> {
    let endpoint = Channel::from_shared(url.to_owned())?.tcp_nodelay(true);
    let started = Instant::now();
    loop {
        match endpoint.connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) if started.elapsed() > Duration::from_secs(10) => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn put(number: u64, value: usize) -> etcd::PutRequest {
    let key = format!("/registry/configmaps/default/object-{:06}", number % 100_000);
    etcd::PutRequest { key: key.into(), value: vec![b'v'; value].into(), ..Default::default() }
}

async fn call(kv: &mut KvClient<Channel>, work: Work, number: u64, value: usize) -> Result<(), Failure> {
    let put = put(number, value);
    let range = etcd::RangeRequest {
        key: put.key.clone(),
        serializable: matches!(work, Work::SerializableRead),
        ..Default::default()
    };
    match work {
        Work::Put | Work::Pipeline => drop(kv.put(put).await?),
        Work::Read | Work::SerializableRead => drop(kv.range(range).await?),
        Work::Txn => {
            // What an API server's create is: put if the key is not there, else read it.
            let compare = etcd::Compare {
                result: etcd::compare::CompareResult::Equal as i32,
                target: etcd::compare::CompareTarget::Mod as i32,
                key: put.key.clone(),
                target_union: Some(etcd::compare::TargetUnion::ModRevision(0)),
                ..Default::default()
            };
            let operation = |request| etcd::RequestOp { request: Some(request) };
            let txn = etcd::TxnRequest {
                compare: vec![compare],
                success: vec![operation(etcd::request_op::Request::RequestPut(put))],
                failure: vec![operation(etcd::request_op::Request::RequestRange(range))],
            };
            kv.txn(txn).await?;
        }
    }
    Ok(())
}

async fn unary(url: &str, work: Work, clients: usize, options: &Options) -> Result<Row, Failure> {
    // As many connections as a real client library would make for so many callers.
    let mut channels = Vec::new();
    for _ in 0..clients.div_ceil(64) {
        channels.push(connect(url).await?);
    }
    let numbers = Arc::new(AtomicU64::new(0));
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (channel, numbers, value) = (channels[client % channels.len()].clone(), numbers.clone(), options.value);
            tokio::spawn(async move {
                let mut kv = KvClient::new(channel);
                let mut times = Vec::new();
                while Instant::now() < until {
                    let started = Instant::now();
                    call(&mut kv, work, numbers.fetch_add(1, Ordering::Relaxed), value).await?;
                    times.push(started.elapsed());
                }
                Ok::<_, Failure>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    Ok(row(times, options.seconds))
}

/// `clients` calls in flight on one stream, sent in batches as they come free.
async fn pipeline(url: &str, clients: usize, options: &Options) -> Result<Row, Failure> {
    let mut store = StoreClient::new(connect(url).await?);
    let (requests, stream) = tokio::sync::mpsc::channel(64);
    let mut number = 0_u64;
    let mut begun = std::collections::HashMap::new();
    let mut next = |begun: &mut std::collections::HashMap<u64, Instant>| {
        number += 1;
        begun.insert(number, Instant::now());
        Call { id: number, request: Some(Asked::Put(put(number, options.value))), ..Call::default() }
    };
    let until = Instant::now() + Duration::from_secs(options.seconds);
    requests.send(PipelineRequest { calls: (0..clients).map(|_| next(&mut begun)).collect() }).await?;
    let mut responses = store.pipeline(ReceiverStream::new(stream)).await?.into_inner();
    let mut times = Vec::new();
    while let Some(response) = responses.message().await? {
        let answered = response.answers.len();
        for answer in response.answers {
            times.extend(begun.remove(&answer.id).map(|started| started.elapsed()));
        }
        if Instant::now() >= until {
            break;
        }
        requests.send(PipelineRequest { calls: (0..answered).map(|_| next(&mut begun)).collect() }).await?;
    }
    Ok(row(times, options.seconds))
}

fn row(mut times: Vec<Duration>, seconds: u64) -> Row {
    times.sort_unstable();
    let at = |part: f64| {
        let place = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
        times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    Row { rate: times.len() as f64 / seconds as f64, median: at(0.5), high: at(0.99) }
}

const ROWS: [(&str, Work, usize); 9] = [
    ("put, 1 client", Work::Put, 1),
    ("put, 64 clients", Work::Put, 64),
    ("put, 1000 clients", Work::Put, 1000),
    ("txn (create), 64 clients", Work::Txn, 64),
    ("read, 1 client", Work::Read, 1),
    ("read, 64 clients", Work::Read, 64),
    ("serializable read, 64 clients", Work::SerializableRead, 64),
    ("put by pipeline, 64 in flight", Work::Pipeline, 64),
    ("put by pipeline, 1000 in flight", Work::Pipeline, 1000),
];

async fn measure(name: &str, url: &str, options: &Options) {
    for (title, work, clients) in ROWS {
        let measured = match work {
            Work::Pipeline => pipeline(url, clients, options).await,
            work => unary(url, work, clients, options).await,
        };
        match measured {
            Ok(row) => println!("| {name} | {title} | {:.0}/s | {:.2} ms | {:.2} ms |", row.rate, row.median, row.high),
            Err(error) => println!("| {name} | {title} | - | {error} | |"),
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let options = Options::parse();
    println!("| server | work | rate | median | p99 |\n|---|---|---|---|---|");
    if let Some(endpoint) = &options.endpoint {
        measure("given", endpoint, &options).await;
        return Ok(());
    }
    let beside = std::env::current_exe()?.with_file_name("").join("../raftstore");
    for (name, binary) in [("raftstore", beside), ("etcd", PathBuf::from("/usr/bin/etcd"))] {
        if !binary.exists() {
            println!("| {name} | {} is not there | | | |", binary.display());
            continue;
        }
        let server = Server::start(name, &binary, &options.directory)?;
        connect(&server.url).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let idle = server.memory();
        measure(server.name, &server.url, &options).await;
        println!("| {name} | memory | idle {idle} MB | after {} MB | |", server.memory());
    }
    Ok(())
}
