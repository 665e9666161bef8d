//! Many watchers of one prefix, and how soon each has what was put.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use keelson_wire::etcdserverpb as etcd;
use prost::Message as _;
use tokio::sync::Notify;

use crate::client::{Times, ask_on};
use crate::http2::{Connection, Event, Headers};
use crate::messages::{framed, key, put_request};
use crate::{Failure, Result};

/// Watchers on one connection, each with a stream of its own.
const PER_CONNECTION: usize = 100;

/// What all watchers heard.
struct Heard {
    clock: Instant,
    /// Microseconds from sending a put to hearing of it.
    times: RefCell<Vec<u32>>,
    /// How many have not heard yet of what they wait for: to be created, then the put that is on its way.
    missing: Cell<usize>,
    complete: Notify,
}

impl Heard {
    fn one(&self) {
        self.missing.set(self.missing.get() - 1);
        if self.missing.get() == 0 {
            self.complete.notify_one();
        }
    }

    fn message(&self, message: &[u8]) -> Result<()> {
        let response = etcd::WatchResponse::decode(&message[5..])?;
        if response.created {
            self.one();
        }
        for event in response.events {
            let sent: [u8; 8] = event.kv.ok_or("an event without a key")?.value[..8].try_into()?;
            let now = self.clock.elapsed().as_micros() as u64;
            self.times.borrow_mut().push(now.saturating_sub(u64::from_be_bytes(sent)) as u32);
            self.one();
        }
        Ok(())
    }
}

async fn watch(address: SocketAddr, watchers: usize, heard: Rc<Heard>) -> Result<()> {
    let create =
        etcd::WatchCreateRequest { key: "/registry/".into(), range_end: "/registry0".into(), ..Default::default() };
    let request = etcd::WatchRequest { request_union: Some(etcd::watch_request::RequestUnion::CreateRequest(create)) };
    let mut connection = Connection::open(address).await?;
    let headers = Headers::new(address, "/etcdserverpb.Watch/Watch");
    for _ in 0..watchers {
        connection.begin(&headers, &framed(&request), false);
    }
    loop {
        match connection.next().await? {
            Event::Message(_, message) => heard.message(&message)?,
            Event::Ended(_) => return Err("a watch ended".into()),
        }
    }
}

/// One put at a time, the next when every watcher has it.
pub async fn measure(address: SocketAddr, watchers: usize, length: Duration) -> Result<Times> {
    let heard = Rc::new(Heard {
        clock: Instant::now(),
        times: RefCell::default(),
        missing: Cell::new(watchers),
        complete: Notify::new(),
    });
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> = (0..watchers)
        .step_by(PER_CONNECTION)
        .map(|first| local.spawn_local(watch(address, PER_CONNECTION.min(watchers - first), heard.clone())))
        .collect();
    let puts = async {
        let mut writer = Connection::open(address).await?;
        heard.complete.notified().await;
        let started = Instant::now();
        let mut number = 0;
        while started.elapsed() < length {
            number += 1;
            heard.missing.set(watchers);
            let mut value = vec![0; 256];
            value[..8].copy_from_slice(&(heard.clock.elapsed().as_micros() as u64).to_be_bytes());
            let frame = framed(&put_request(key(number), value));
            ask_on::<etcd::PutResponse>(&mut writer, address, "/etcdserverpb.KV/Put", &frame).await?;
            heard.complete.notified().await;
        }
        Ok::<_, Failure>(Times::new(heard.times.take(), started.elapsed()))
    };
    let first_end = futures::future::select_all(tasks);
    local
        .run_until(async move {
            tokio::select! {
                times = puts => times,
                (ended, ..) = first_end => Err(ended?.err().unwrap_or_else(|| "the watchers are gone".into())),
            }
        })
        .await
}
