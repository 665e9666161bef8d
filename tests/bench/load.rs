//! Closed loops: so many clients, each sending its next request when it has the answer to the last.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use keelson_tests::harness::Result;

use crate::connection::Server;
use crate::plain::PlainConnection;

/// Warm-up before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);

pub struct Load {
    /// All that were sent, the warm-up's too.
    pub requests: u64,
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
}

impl Load {
    pub fn text(&self) -> String {
        format!("{:.0}/s, p50 {:.2} ms, p99 {:.2} ms", self.per_second, milliseconds(self.p50), milliseconds(self.p99))
    }
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Runs `request(client, count)` from so many clients for so many seconds.
pub async fn closed_loop(
    server: &Server,
    clients: usize,
    seconds: u64,
    request: impl Fn(usize, u64) -> (Method, String, Bytes) + Clone + Send + 'static,
) -> Result<Load> {
    let start = Instant::now() + WARM_UP;
    let end = start + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for client in 0..clients {
        let mut connection = PlainConnection::open(server).await?;
        let request = request.clone();
        tasks.push(tokio::spawn(async move {
            let mut times = Vec::new();
            let mut count = 0;
            loop {
                let begin = Instant::now();
                if begin >= end {
                    break;
                }
                let (method, path, body) = request(client, count);
                connection.call(&method, &path, &body).await?;
                count += 1;
                if begin >= start {
                    times.push(begin.elapsed());
                }
            }
            Ok::<_, keelson_tests::harness::Failure>((times, count))
        }));
    }
    let mut times = Vec::new();
    let mut requests = 0;
    for task in tasks {
        let (more, count) = task.await??;
        times.extend(more);
        requests += count;
    }
    Ok(Load {
        requests,
        per_second: times.len() as f64 / seconds as f64,
        p50: percentile(&mut times, 50),
        p99: percentile(&mut times, 99),
    })
}

/// Sorts, and takes the value below which so many per cent lie; zero of nothing.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
    times.get(place).copied().unwrap_or_default()
}
