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

/// From the kill to the first acknowledged put that was begun after it.
async fn outage(cluster: &mut Cluster, leader: usize) -> Result<Duration> {
    let killed = Instant::now();
    cluster.members[leader].kill();
    let survivors: Vec<SocketAddr> =
        cluster.members.iter().enumerate().filter(|(at, _)| *at != leader).map(|(_, member)| member.address).collect();
    let mut asked = FuturesUnordered::new();
    let mut turns = tokio::time::interval(EVERY);
    let mut number = 0;
    loop {
        tokio::select! {
            _ = turns.tick() => {
                for address in &survivors {
                    number += 1;
                    asked.push(put(*address, number));
                }
            }
            Some(outcome) = asked.next(), if !asked.is_empty() => {
                if outcome.is_ok() {
                    return Ok(killed.elapsed());
                }
            }
        }
        if killed.elapsed() > Duration::from_secs(30) {
            return Err("nothing was acknowledged for half a minute".into());
        }
    }
}

pub async fn measure(cluster: &mut Cluster, kills: usize) -> Result<Times> {
    let started = Instant::now();
    let mut outages = Vec::new();
    for _ in 0..kills {
        let leader = cluster.leader().await?;
        outages.push(outage(cluster, leader).await?.as_micros() as u32);
        cluster.members[leader].start()?;
    }
    Ok(Times::new(outages, started.elapsed()))
}
