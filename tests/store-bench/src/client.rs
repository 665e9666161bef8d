//! Closed loops of calls, and single ones.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use prost::Message;

use crate::http2::{Connection, Event, Headers};
use crate::messages::Template;
use crate::{Failure, Result};

/// Calls that share a connection.
const CALLS_PER_CONNECTION: usize = 64;

/// One call on a connection of its own.
pub async fn ask<Answer: Message + Default>(address: SocketAddr, path: &str, frame: &[u8]) -> Result<Answer> {
    ask_on(&mut Connection::open(address).await?, address, path, frame).await
}

/// One call on a connection that has no others.
pub async fn ask_on<Answer: Message + Default>(
    connection: &mut Connection,
    address: SocketAddr,
    path: &str,
    frame: &[u8],
) -> Result<Answer> {
    connection.begin(&Headers::new(address, path), frame, true);
    let mut answer = None;
    loop {
        match connection.next().await? {
            Event::Message(_, message) => answer = Some(Answer::decode(&message[5..])?),
            Event::Ended(_) => return answer.ok_or_else(|| format!("{path} was refused").into()),
        }
    }
}

/// What the calls of one row took, in microseconds, ascending.
pub struct Times {
    pub sorted: Vec<u32>,
    pub elapsed: Duration,
}

impl Times {
    pub fn new(mut times: Vec<u32>, elapsed: Duration) -> Self {
        times.sort_unstable();
        Self { sorted: times, elapsed }
    }

    pub fn rate(&self) -> f64 {
        self.sorted.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Milliseconds below which this part of the calls was.
    pub fn at(&self, part: f64) -> f64 {
        let place = ((self.sorted.len() as f64 * part) as usize).min(self.sorted.len().saturating_sub(1));
        self.sorted.get(place).map_or(0.0, |time| f64::from(*time) / 1e3)
    }
}

/// How long a row goes on.
#[derive(Clone, Copy)]
pub enum Until {
    Elapsed(Duration),
    Calls(u64),
}

/// So many clients, each with one call at a time. `number` makes the calls' numbers from their order.
pub async fn load(
    address: SocketAddr,
    template: Template,
    clients: usize,
    until: Until,
    number: fn(u64) -> u64,
) -> Result<Times> {
    let headers = Headers::new(address, template.path);
    let mut connections = Vec::new();
    for _ in 0..clients.div_ceil(CALLS_PER_CONNECTION) {
        connections.push(Connection::open(address).await?);
    }
    let turns = Rc::new(Turns { template, until, number, next: std::cell::Cell::new(0), started: Instant::now() });
    let local = tokio::task::LocalSet::new();
    let mut tasks = Vec::new();
    for (at, connection) in connections.into_iter().enumerate() {
        let here = CALLS_PER_CONNECTION.min(clients - at * CALLS_PER_CONNECTION);
        tasks.push(local.spawn_local(clients_of(connection, headers.clone(), turns.clone(), here)));
    }
    local
        .run_until(async move {
            let mut times = Vec::new();
            for task in tasks {
                times.extend(task.await??);
            }
            Ok(Times::new(times, turns.started.elapsed()))
        })
        .await
}

/// What the clients of a row share.
struct Turns {
    template: Template,
    until: Until,
    number: fn(u64) -> u64,
    next: std::cell::Cell<u64>,
    started: Instant,
}

impl Turns {
    /// The next call's message, unless the row is over.
    fn take(&self) -> Option<bytes::Bytes> {
        let turn = self.next.get();
        let is_over = match self.until {
            Until::Elapsed(length) => self.started.elapsed() >= length,
            Until::Calls(calls) => turn >= calls,
        };
        self.next.set(turn + 1);
        (!is_over).then(|| self.template.stamped((self.number)(turn)))
    }
}

async fn clients_of(
    mut connection: Connection,
    headers: Headers,
    turns: Rc<Turns>,
    clients: usize,
) -> Result<Vec<u32>> {
    /// When it was begun, and whether its answer has come.
    type Open = HashMap<u32, (Instant, bool)>;
    let mut open = Open::new();
    let mut times = Vec::new();
    let begin = |connection: &mut Connection, open: &mut Open| {
        if let Some(message) = turns.take() {
            open.insert(connection.begin(&headers, &message, true), (Instant::now(), false));
        }
    };
    for _ in 0..clients {
        begin(&mut connection, &mut open);
    }
    while !open.is_empty() {
        match connection.next().await? {
            Event::Message(stream, _) => {
                if let Some((_, answered)) = open.get_mut(&stream) {
                    *answered = true;
                }
            }
            Event::Ended(stream) => {
                if let Some((begun, answered)) = open.remove(&stream) {
                    if !answered {
                        return Err(Failure::from("a call was refused"));
                    }
                    times.push(begun.elapsed().as_micros() as u32);
                    begin(&mut connection, &mut open);
                }
            }
        }
    }
    Ok(times)
}
