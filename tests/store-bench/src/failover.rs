//! How long nothing can be written when the leader is killed.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;

use crate::Result;
use crate::client::{Times, ask};
use crate::messages;
use crate::server::Cluster;

/// Each survivor is asked as often as this; a server may keep an early call until it gives up.
const EVERY: Duration = Duration::from_millis(10);

async fn put(address: SocketAddr, number: u64) -> Result<()> {
    let template = messages::put(256);
    ask::<keelson_wire::etcdserverpb::PutResponse>(address, template.path, &template.stamped(number)).await?;
    Ok(())
}

/// What clients see of one kill.
struct Outage {
    /// To the first acknowledged put that was begun after the kill.
    first: Duration,
    /// To the last answer of those that were begun at the moment of the kill, on each survivor.
    begun: Duration,
}

async fn outage(cluster: &mut Cluster, leader: usize) -> Result<Outage> {
    let killed = Instant::now();
    cluster.members[leader].kill();
    let survivors: Vec<SocketAddr> =
        cluster.members.iter().enumerate().filter(|(at, _)| *at != leader).map(|(_, member)| member.address).collect();
    let mut asked = FuturesUnordered::new();
    let mut turns = tokio::time::interval(EVERY);
    let mut number = 0;
    let (mut first, mut open) = (None, survivors.len());
    loop {
        tokio::select! {
            _ = turns.tick() => {
                for address in survivors.clone() {
                    number += 1;
                    asked.push(async move { (number, put(address, number).await) });
                }
            }
            Some((number, outcome)) = asked.next(), if !asked.is_empty() => {
                if outcome.is_ok() {
                    first.get_or_insert_with(|| killed.elapsed());
                }
                if number <= survivors.len() as u64 {
                    open -= 1;
                }
                if let (Some(first), 0) = (first, open) {
                    return Ok(Outage { first, begun: killed.elapsed() });
                }
            }
        }
        if killed.elapsed() > Duration::from_secs(30) {
            return Err("nothing was acknowledged for half a minute".into());
        }
    }
}

/// Both times of so many kills: to the first acknowledged put, and to the answer of puts that were begun at the kill.
pub async fn measure(cluster: &mut Cluster, kills: usize) -> Result<(Times, Times)> {
    let started = Instant::now();
    let (mut first, mut begun) = (Vec::new(), Vec::new());
    for _ in 0..kills {
        let leader = cluster.leader().await?;
        let outage = outage(cluster, leader).await?;
        first.push(outage.first.as_micros() as u32);
        begun.push(outage.begun.as_micros() as u32);
        cluster.members[leader].start()?;
    }
    Ok((Times::new(first, started.elapsed()), Times::new(begun, started.elapsed())))
}
