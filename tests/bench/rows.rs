//! What is measured, group by group.

mod api;
mod pods;
mod schedule;
mod start;

use keelson_tests::harness::{Cluster, Registry, Result, busybox};

use crate::connection::Server;
use crate::memory::megabytes;
use crate::table::Table;

const CONTROL_PLANE: [&str; 4] = ["raftstore", "apiserver", "controllers", "scheduler"];
const REGISTRY_PORT: u16 = 5000;

/// What rows with pods need beside the cluster: an image, in a registry on the cluster's bridge.
pub struct World {
    registry: Registry,
    image: String,
}

impl World {
    fn prepare(cluster: &Cluster) -> Result<Self> {
        let registry = Registry::start(&cluster.gateway()?, REGISTRY_PORT, &cluster.root().join("registry"))?;
        let image = registry.push(&busybox()?, "busybox", "1")?;
        Ok(Self { registry, image })
    }
}

/// Measures the groups that are named, or all, in the order in which they disturb each other least.
pub async fn measure(cluster: &Cluster, seconds: u64, only: &[String]) -> Result<Table> {
    let wanted = |group: &str| only.is_empty() || only.iter().any(|name| name == group);
    let mut table = Table::default();
    let server = Server::new(&cluster.configuration(), api_port(cluster)?)?;
    if wanted("start") {
        start::cold_start(cluster, &server, &mut table).await?;
    }
    if wanted("memory") {
        table.add("control plane, idle", format!("{:.0} MB", megabytes(cluster, &CONTROL_PLANE)?), "501 MB");
    }
    if wanted("pods") {
        pods::measure(cluster, &server, &World::prepare(cluster)?, &mut table).await?;
    }
    if wanted("schedule") {
        schedule::measure(&server, &mut table).await?;
    }
    if wanted("watch") {
        api::watch(&server, &mut table).await?;
    }
    if wanted("api") {
        let created = api::create_and_get(&server, seconds, &mut table).await?;
        if wanted("memory") {
            let memory = megabytes(cluster, &CONTROL_PLANE)?;
            table.add("control plane, after the load", format!("{memory:.0} MB with {created} ConfigMaps"), "2070 MB");
        }
        api::clear(&server).await?;
    }
    if wanted("list") {
        api::list(&server, &mut table).await?;
    }
    Ok(table)
}

fn api_port(cluster: &Cluster) -> Result<u16> {
    Ok(match u16::try_from(cluster.slot()?)? {
        0 => 6443,
        slot => 21_000 + slot * 100,
    })
}
