//! Many watchers of one prefix, and how soon each has what was put.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf as _, BytesMut};
use keelson_wire::etcdserverpb as etcd;
use prost::Message as _;
use tokio::sync::mpsc;

use crate::client::{Connection, Times};
use crate::messages::{framed, key, put_request};
use crate::{Failure, Result};

/// Watchers on one connection, each with a stream of its own.
const PER_CONNECTION: usize = 100;

enum Heard {
    Created,
    /// Microseconds since the put that made it was sent.
    Event(u32),
}

/// Tells of every event when it came, by the time that the value names.
async fn watch(connection: Rc<Connection>, clock: Instant, heard: mpsc::UnboundedSender<Heard>) -> Result<()> {
    let create =
        etcd::WatchCreateRequest { key: "/registry/".into(), range_end: "/registry0".into(), ..Default::default() };
    let request = etcd::WatchRequest { request_union: Some(etcd::watch_request::RequestUnion::CreateRequest(create)) };
    let (_open, mut body) = connection.stream("/etcdserverpb.Watch/Watch", framed(&request)).await?;
    let mut waiting = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part?;
        body.flow_control().release_capacity(part.len())?;
        waiting.extend_from_slice(&part);
        while waiting.len() >= 5 {
            let length = u32::from_be_bytes(waiting[1..5].try_into()?) as usize;
            if waiting.len() < 5 + length {
                break;
            }
            waiting.advance(5);
            let response = etcd::WatchResponse::decode(waiting.split_to(length))?;
            if response.created {
                heard.send(Heard::Created)?;
            }
            let now = clock.elapsed().as_micros() as u64;
            for event in response.events {
                let sent: [u8; 8] = event.kv.ok_or("an event without a key")?.value[..8].try_into()?;
                heard.send(Heard::Event(now.saturating_sub(u64::from_be_bytes(sent)) as u32))?;
            }
        }
    }
    Ok(())
}

/// One put at a time, the next when every watcher has it.
pub async fn measure(address: SocketAddr, watchers: usize, length: Duration) -> Result<Times> {
    let clock = Instant::now();
    let (heard, mut hearing) = mpsc::unbounded_channel();
    let local = tokio::task::LocalSet::new();
    let mut connection = Rc::new(Connection::open(address).await?);
    let mut tasks = Vec::new();
    for watcher in 0..watchers {
        if watcher > 0 && watcher % PER_CONNECTION == 0 {
            connection = Rc::new(Connection::open(address).await?);
        }
        tasks.push(local.spawn_local(watch(connection.clone(), clock, heard.clone())));
    }
    local
        .run_until(async move {
            let writer = Connection::open(address).await?;
            for _ in 0..watchers {
                hearing.recv().await.ok_or("the watchers are gone")?;
            }
            let started = Instant::now();
            let mut times = Vec::new();
            let mut number = 0;
            while started.elapsed() < length {
                number += 1;
                let mut value = vec![0; 256];
                value[..8].copy_from_slice(&(clock.elapsed().as_micros() as u64).to_be_bytes());
                let frame = framed(&put_request(key(number), value));
                writer.ask::<etcd::PutResponse>("/etcdserverpb.KV/Put", frame).await?;
                let mut missing = watchers;
                while missing > 0 {
                    if let Heard::Event(time) = hearing.recv().await.ok_or("the watchers are gone")? {
                        times.push(time);
                        missing -= 1;
                    }
                }
            }
            let times = Times::new(times, started.elapsed());
            tasks.into_iter().for_each(|task| task.abort());
            Ok::<_, Failure>(times)
        })
        .await
}
