//! Benchmarks of a whole cluster on this machine, printed as a table. They assert nothing.
//!
//!     bench [--secs 6] [--only GROUP]... [--root DIR]
//!
//! Makes a cluster of one node and one store member in a directory of its own, measures, and purges it. The reference
//! column holds what upstream 1.36 (etcd 3.6, kube-apiserver, controller-manager, scheduler, kubelet) reached on a quiet
//! two-core host.

mod connection;
mod load;
mod memory;
mod plain;
mod rows;
mod table;
mod watch;
mod wires;

use std::path::PathBuf;

use clap::Parser;
use keelson_process::allocator;
use keelson_tests::harness::{Cluster, Network, Result, Shape};

#[global_allocator]
static ALLOCATOR: allocator::Fast = allocator::Fast;

#[derive(Parser)]
struct Options {
    /// Seconds that each closed loop runs
    #[arg(long, default_value_t = 6)]
    secs: u64,
    /// Only rows whose group (api, watch, list, schedule, pods, start, memory) is named; may be given again
    #[arg(long)]
    only: Vec<String>,
    /// Use the cluster below this directory instead of a new one
    #[arg(long)]
    root: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let directory = tempfile::Builder::new().prefix("keelson-bench-").tempdir_in("/tmp")?;
    let own = options.root.is_none();
    let root = options.root.clone().unwrap_or_else(|| directory.path().to_owned());
    let mut cluster = Cluster::at(&root)?;
    if own {
        cluster.up(
            Shape { nodes: 1, members: 1, network: Network::Namespaces },
            &keelson_tests::scenarios::test_flags(),
        )?;
    } else {
        cluster.keep();
    }
    let table = runtime.block_on(rows::measure(&cluster, options.secs, &options.only))?;
    if own {
        cluster.purge()?;
    }
    println!("\n{}", table.render());
    Ok(())
}
