//! The rows: what is measured, on how many members, and how it is printed.

use std::path::Path;
use std::time::{Duration, Instant};

use keelson_wire::etcdserverpb::RangeResponse;

use crate::client::{Times, Until, ask, load};
use crate::messages::{self, KEYS, Template};
use crate::server::{Cluster, binary};
use crate::{Options, Result, failover, watchers};

/// A row of calls: its group, what it is called, the request, how many clients.
struct Row {
    group: &'static str,
    title: &'static str,
    template: fn() -> Template,
    clients: usize,
    number: fn(u64) -> u64,
}

/// Keys in an order that is no order.
fn scattered(turn: u64) -> u64 {
    turn.wrapping_mul(48_271) % KEYS
}

fn fresh(turn: u64) -> u64 {
    1_000_000 + turn
}

fn fresh_for_one(turn: u64) -> u64 {
    1_000_000_000 + turn
}

const fn row(
    group: &'static str,
    title: &'static str,
    clients: usize,
    template: fn() -> Template,
    number: fn(u64) -> u64,
) -> Row {
    Row { group, title, template, clients, number }
}

const ROWS: [Row; 19] = [
    row("put", "put of 256 B, 1 client", 1, || messages::put(256), scattered),
    row("put", "put of 256 B, 64 clients", 64, || messages::put(256), scattered),
    row("put", "put of 256 B, 1,000 clients", 1_000, || messages::put(256), scattered),
    row("put", "put of 1 KiB, 1 client", 1, || messages::put(1024), scattered),
    row("put", "put of 1 KiB, 64 clients", 64, || messages::put(1024), scattered),
    row("put", "put of 1 KiB, 1,000 clients", 1_000, || messages::put(1024), scattered),
    row("txn", "create by transaction, 1 client", 1, || messages::create(256), fresh_for_one),
    row("txn", "create by transaction, 64 clients", 64, || messages::create(256), fresh),
    row("read", "linearizable read, 1 client", 1, || messages::read(false), scattered),
    row("read", "linearizable read, 64 clients", 64, || messages::read(false), scattered),
    row("read", "serializable read, 1 client", 1, || messages::read(true), scattered),
    row("read", "serializable read, 64 clients", 64, || messages::read(true), scattered),
    row("range", "range of 1,000, 1 client", 1, messages::thousand, |turn| turn * 1_000 % (KEYS - 1_000)),
    row("range", "range of 1,000, 8 clients", 8, messages::thousand, |turn| turn * 1_000 % (KEYS - 1_000)),
    row("members", "three members: put of 256 B, 1 client", 1, || messages::put(256), scattered),
    row("members", "three members: put of 256 B, 64 clients", 64, || messages::put(256), scattered),
    row("members", "three members: put of 256 B, 1,000 clients", 1_000, || messages::put(256), scattered),
    row("members", "three members: linearizable read, 1 client", 1, || messages::read(false), scattered),
    row("members", "three members: linearizable read, 64 clients", 64, || messages::read(false), scattered),
];

const WATCHERS: [(&str, usize); 2] = [("100 watchers, delivery", 100), ("1,000 watchers, delivery", 1_000)];

/// How many puts fill the store before reads and ranges.
const FILL: u64 = KEYS;
const FILLERS: usize = 256;
/// Allocators give memory back after a moment, and servers write out behind the clients' backs.
const SETTLE: Duration = Duration::from_secs(5);

/// Group by group, one server after the other: the machine's own speed changes, and what is compared shall be of about one
/// time.
pub async fn measure(options: &Options) -> Result<()> {
    let servers = options.servers.iter().map(|server| {
        let name = Path::new(server).file_name().map_or(server.clone(), |name| name.to_string_lossy().into_owned());
        Ok((name, binary(server)?))
    });
    let servers: Vec<_> = servers.collect::<Result<_>>()?;
    for group in &options.rows {
        for (name, binary) in &servers {
            group_of_rows(options, group, name, binary).await?;
        }
    }
    Ok(())
}

async fn group_of_rows(options: &Options, group: &str, server: &str, binary: &Path) -> Result<()> {
    let count = if ["members", "failover"].contains(&group) { 3 } else { 1 };
    let mut cluster = Cluster::start(binary, count, &options.directory).await?;
    let length = Duration::from_secs(options.seconds);
    let leader = cluster.leader().await?;
    let address = cluster.members[leader].address;
    match group {
        "failover" => {
            let (first, begun) = failover::measure(&mut cluster, options.kills).await?;
            for (title, times) in [("next write", first), ("answers of those begun at that moment", begun)] {
                let list = times.sorted.iter().map(|time| format!("{:.2}", f64::from(*time) / 1e6));
                let list = list.collect::<Vec<_>>().join(", ");
                println!("| leader killed to {title} | {server} | | {:.0} ms | | | {list} s |", times.at(0.5));
            }
        }
        "data" => data(options, server, &mut cluster).await?,
        "watch" => {
            for (title, count) in WATCHERS {
                let before = cluster.processor_time();
                let times = watchers::measure(address, count, length).await?;
                print(title, server, &times, cluster.processor_time() - before);
            }
        }
        _ => {
            if ["read", "range"].contains(&group) {
                load(address, messages::put(256), FILLERS, Until::Calls(FILL), |turn| turn).await?;
            }
            for row in ROWS.iter().filter(|row| row.group == group && row.title.contains(&options.only)) {
                let before = cluster.processor_time();
                let times = load(address, (row.template)(), row.clients, Until::Elapsed(length), row.number).await?;
                print(row.title, server, &times, cluster.processor_time() - before);
            }
        }
    }
    Ok(())
}

fn print(title: &str, server: &str, times: &Times, processor_time: u64) {
    let each = processor_time as f64 / times.sorted.len().max(1) as f64;
    println!(
        "| {title} | {server} | {:.0}/s | {:.2} ms | {:.2} ms | {each:.0} µs | |",
        times.rate(),
        times.at(0.5),
        times.at(0.99)
    );
}

/// Memory and disk after many puts, and how soon a member is back with them.
async fn data(options: &Options, server: &str, cluster: &mut Cluster) -> Result<()> {
    let (idle, _) = cluster.memory();
    let address = cluster.members[0].address;
    let before = cluster.processor_time();
    let number: fn(u64) -> u64 = scattered;
    let times = load(address, messages::put(256), FILLERS, Until::Calls(options.puts), number).await?;
    print(
        &format!("{} puts over {KEYS} keys, {FILLERS} clients", options.puts),
        server,
        &times,
        cluster.processor_time() - before,
    );
    tokio::time::sleep(SETTLE).await;
    let (after, highest) = cluster.memory();
    println!("| memory, with these | {server} | {after} MB | | | | idle {idle} MB, highest {highest} MB |");
    println!("| disk, with these | {server} | {} MB | | | | |", cluster.disk());
    for (title, is_killed) in [("restart after SIGTERM", false), ("restart after kill -9", true)] {
        if is_killed {
            cluster.members[0].kill();
        } else {
            cluster.members[0].terminate()?;
        }
        let started = Instant::now();
        cluster.members[0].start()?;
        first_read(address).await?;
        let took = started.elapsed().as_secs_f64();
        let (resident, _) = cluster.memory();
        println!("| {title}, to the first linearizable read | {server} | {took:.2} s | | | | then {resident} MB |");
    }
    Ok(())
}

async fn first_read(address: std::net::SocketAddr) -> Result<()> {
    let template = messages::read(false);
    let started = Instant::now();
    loop {
        match ask::<RangeResponse>(address, template.path, &template.stamped(1)).await {
            Ok(found) if found.count == 1 => return Ok(()),
            Ok(_) => return Err("a key is missing after the restart".into()),
            Err(error) if started.elapsed() > Duration::from_secs(60) => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
}
