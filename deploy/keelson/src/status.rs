//! `keelson status`: what runs, what is ready, and in which version.

use k8s_openapi::api::core::v1::Node;
use keelson_wire::etcdserverpb::maintenance_client::MaintenanceClient;
use keelson_wire::etcdserverpb::{StatusRequest, StatusResponse};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::supervisor::Record;
use crate::{api, machine, plan, supervisor};

pub async fn status(layout: &Layout) -> Result<()> {
    let Some(cluster) = Cluster::load(layout)? else {
        return Err(Error::new(format!("there is no cluster below {}", layout.root().display()))
            .hint("make one with `keelson up`"));
    };
    println!(
        "keelson {}   supervisor: {}",
        keelson_process::VERSION,
        if supervisor::is_running(layout) { "running" } else { "not running" }
    );
    println!("\n{:<24} {:>8} {:>10} {:>9} {:>9}", "PROCESS", "PID", "MEMORY", "RESTARTS", "AGE");
    for process in plan::processes(&cluster, layout, &machine::facts()) {
        println!("{}", process_line(layout, &process.name));
    }
    println!("\n{:<24} {:<10} {:>10} {:>12} {:>10}", "STORE MEMBER", "ROLE", "RAFT TERM", "RAFT INDEX", "SIZE");
    for (index, member) in (0..).zip(cluster.member_names()) {
        match member_status(layout, cluster.client_url(index)).await {
            Ok(status) => println!("{}", member_line(&member, &status)),
            Err(error) => println!("{member:<24} unreachable: {error}"),
        }
    }
    println!("\n{:<24} {:<10} {:<18} {:<18} VERSION", "NODE", "STATUS", "ADDRESS", "POD CIDR");
    for node in api::nodes(&api::client(layout)?).await? {
        println!("{}", node_line(&node));
    }
    Ok(())
}

fn process_line(layout: &Layout, name: &str) -> String {
    match Record::load(layout, name).filter(Record::is_alive) {
        Some(record) => {
            let age = jiff::Timestamp::now().as_second() - record.started_at;
            let memory = resident_kib(record.pid)
                .map_or_else(|| "?".to_owned(), |kib| format!("{:.1} MiB", kib as f64 / 1024.0));
            format!("{name:<24} {:>8} {memory:>10} {:>9} {:>9}", record.pid, record.restarts, duration(age))
        }
        None => format!("{name:<24} not running"),
    }
}

fn resident_kib(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

async fn member_status(layout: &Layout, url: String) -> Result<StatusResponse> {
    let read = |path: std::path::PathBuf| std::fs::read(&path).map_err(|error| Error::file("read", &path, error));
    let tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(layout.pki_file("ca", "crt"))?)).identity(
            Identity::from_pem(read(layout.pki_file("operator", "crt"))?, read(layout.pki_file("operator", "key"))?),
        );
    let failed = |error: &dyn std::fmt::Display| Error::tried("ask the member", error);
    let endpoint = Channel::from_shared(url).map_err(|error| failed(&error))?;
    let endpoint =
        endpoint.tls_config(tls).map_err(|error| failed(&error))?.connect_timeout(std::time::Duration::from_secs(2));
    let channel = endpoint.connect().await.map_err(|error| failed(&error))?;
    let response = MaintenanceClient::new(channel).status(StatusRequest {}).await;
    response.map(tonic::Response::into_inner).map_err(|error| failed(&error.message()))
}

fn member_line(name: &str, status: &StatusResponse) -> String {
    let id = status.header.as_ref().map_or(0, |header| header.member_id);
    let role = if status.leader == id { "leader" } else { "follower" };
    let size = format!("{:.1} MiB", status.db_size as f64 / f64::from(1 << 20));
    format!("{name:<24} {role:<10} {:>10} {:>12} {size:>10}", status.raft_term, status.raft_index)
}

fn node_line(node: &Node) -> String {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let state = if api::is_ready(node) { "Ready" } else { "NotReady" };
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let address =
        addresses.iter().find(|address| address.type_ == "InternalIP").map_or("", |address| address.address.as_str());
    let cidr = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref()).unwrap_or_default();
    let version = node
        .status
        .as_ref()
        .and_then(|status| status.node_info.as_ref())
        .map_or("", |info| info.kubelet_version.as_str());
    format!("{name:<24} {state:<10} {address:<18} {cidr:<18} {version}")
}

/// Seconds as kubectl shows an age: two units at most.
fn duration(seconds: i64) -> String {
    match seconds.max(0) {
        seconds if seconds < 120 => format!("{seconds}s"),
        seconds if seconds < 7200 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds if seconds < 172_800 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        seconds => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
