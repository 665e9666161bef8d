//! raftstore and Debian's etcd, one after the other, under the same client on the same disk.
//!
//!     store-bench [--rows put,read,range,txn,watch,members,data,failover] [--servers raftstore,etcd] [--seconds 3]
//!     store-bench --rows put --only "1 client"
//!
//! Client and servers share the machine, so each rate stands beside the processor time that the servers took for an
//! operation: that does not depend on who had the processors. It asserts nothing.

mod client;
mod failover;
mod http2;
mod messages;
mod rows;
mod server;
mod watchers;

use std::path::PathBuf;

use clap::Parser;

type Failure = Box<dyn std::error::Error>;
type Result<T> = std::result::Result<T, Failure>;

#[derive(Parser)]
pub struct Options {
    /// Groups of rows: put, read, range, txn, watch, members (three of them), data (a million puts), failover
    #[arg(long, value_delimiter = ',', default_values = ["put", "read", "range", "txn", "watch", "members", "data", "failover"])]
    rows: Vec<String>,
    /// Of groups of calls, only the rows whose title has this in it
    #[arg(long, default_value = "")]
    only: String,
    /// raftstore, etcd, or a path to a binary with their flags
    #[arg(long, value_delimiter = ',', default_values = ["raftstore", "etcd"])]
    servers: Vec<String>,
    /// Seconds for each row
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Where the servers keep their data: the disk that is measured
    #[arg(long, default_value = ".")]
    directory: PathBuf,
    /// Puts of the group `data`, over a tenth as many keys
    #[arg(long, default_value_t = 1_000_000)]
    puts: u64,
    /// Leaders to kill in the group `failover`
    #[arg(long, default_value_t = 7)]
    kills: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    // One thread: the client must leave the processors to the servers.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("| row | server | rate | median | p99 | server's processor time | |\n|---|---|---|---|---|---|---|");
    runtime.block_on(rows::measure(&options))
}
