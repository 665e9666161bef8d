//! Requests against the API server alone.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::Method;
use keelson_tests::harness::Result;
use serde_json::{Value, json};

use crate::connection::{Connection, Server};
use crate::load::{closed_loop, milliseconds, percentile};
use crate::plain::{END_OF_HEAD, find, succeeded};
use crate::table::Table;
use crate::wires::Wires;

pub async fn namespace(server: &Server, name: &str) -> Result<Connection> {
    let mut connection = server.connect().await?;
    let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }).to_string();
    connection.call(Method::POST, "/api/v1/namespaces", body).await?;
    let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
    while connection.attempt(Method::GET, &account, "application/json", Bytes::new()).await?.0 != 200 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(connection)
}

fn config_map(name: &str) -> Bytes {
    let value = "v".repeat(64);
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": { "app": "bench" } }, "data": { "k": value } })
        .to_string()
        .into()
}

/// The objects stay: how many they are is the answer.
pub async fn create_and_get(server: &Server, seconds: u64, table: &mut Table) -> Result<u64> {
    const PATH: &str = "/api/v1/namespaces/bench-api/configmaps";
    let mut connection = namespace(server, "bench-api").await?;
    let mut created = 0;
    connection.call(Method::POST, PATH, config_map("one")).await?;
    for (clients, upstream) in [(1, "540 µs p50"), (64, "6700/s, p99 27 ms")] {
        let load =
            closed_loop(server, clients, seconds, |_, _| (Method::GET, format!("{PATH}/one"), Bytes::new())).await?;
        table.add(format!("GET a ConfigMap, {clients} client(s)"), load.text(), upstream);
    }
    for (clients, upstream) in [(1, "770/s, p50 1.2 ms"), (64, "2760/s, p99 60 ms")] {
        let create =
            move |client, count| (Method::POST, PATH.to_owned(), config_map(&format!("c{clients}-{client}-{count}")));
        let load = closed_loop(server, clients, seconds, create).await?;
        table.add(format!("create ConfigMaps, {clients} client(s)"), load.text(), upstream);
        created += load.requests;
    }
    Ok(created)
}

/// Deletes what [`create_and_get`] left.
pub async fn clear(server: &Server) -> Result<()> {
    let mut connection = server.connect().await?;
    connection.call(Method::DELETE, "/api/v1/namespaces/bench-api", Bytes::new()).await?;
    Ok(())
}

pub async fn list(server: &Server, table: &mut Table) -> Result<()> {
    const PODS: u64 = 5000;
    const PATH: &str = "/api/v1/namespaces/bench-list/pods";
    let mut connection = namespace(server, "bench-list").await?;
    let mut fillers = Vec::new();
    for filler in 0..16 {
        let mut connection = server.connect().await?;
        fillers.push(tokio::spawn(async move {
            for count in (filler..PODS).step_by(16) {
                let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("p{count}"), "labels": { "app": "bench" } },
                    "spec": { "schedulerName": "none", "automountServiceAccountToken": false,
                        "containers": [{ "name": "c", "image": "registry.k8s.io/pause:3.10", "resources": { "requests": { "cpu": "1m", "memory": "1Mi" } } }] } });
                connection.call(Method::POST, PATH, pod.to_string()).await?;
            }
            Ok::<_, keelson_tests::harness::Failure>(())
        }));
    }
    for filler in fillers {
        filler.await??;
    }
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..9 {
        let start = Instant::now();
        bytes = connection.call(Method::GET, PATH, Bytes::new()).await?.len();
        times.push(start.elapsed());
    }
    let median = milliseconds(percentile(&mut times, 50));
    table.add("LIST of 5,000 pods", format!("{median:.1} ms ({:.1} MB)", bytes as f64 / 1e6), "88 ms");
    connection.call(Method::DELETE, "/api/v1/namespaces/bench-list", Bytes::new()).await?;
    Ok(())
}

/// From the moment of the POST to the event's arrival at each of 100 watchers.
pub async fn watch(server: &Server, table: &mut Table) -> Result<()> {
    const WATCHERS: usize = 100;
    const EVENTS: usize = 200;
    const PAUSE: Duration = Duration::from_millis(50);
    const PATIENCE: Duration = Duration::from_secs(10);
    const PATH: &str = "/api/v1/namespaces/bench-watch/configmaps";
    let mut connection = namespace(server, "bench-watch").await?;
    let list: Value = serde_json::from_slice(&connection.call(Method::GET, PATH, Bytes::new()).await?)?;
    let from = list["metadata"]["resourceVersion"].as_str().ok_or("a list has a resourceVersion")?;
    let watched = format!("{PATH}?watch=true&resourceVersion={from}");
    // Nothing else of this process has work meanwhile: this thread may wait for the kernel.
    let mut wires = Wires::new(WATCHERS + 1)?;
    for _ in 0..WATCHERS {
        let watcher = wires.open(server)?;
        wires.send(watcher, &Method::GET, &watched, b"")?;
        wires.succeed(watcher, PATIENCE)?;
    }
    let writer = wires.open(server)?;
    let mut delays = Vec::with_capacity(WATCHERS * EVENTS);
    for count in 0..EVENTS {
        let sent = since_epoch().as_nanos();
        let object = format!(
            r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"e{count}"}},"data":{{"sent":"{sent}"}}}}"#
        );
        wires.send(writer, &Method::POST, PATH, object.as_bytes())?;
        let mut until = Instant::now() + PATIENCE;
        let mut is_answered = false;
        while Instant::now() < until {
            wires.wait(until, |place, bytes| {
                if place != writer {
                    return arrivals(bytes, &mut delays);
                }
                if !is_answered && find(bytes, END_OF_HEAD).is_some() {
                    succeeded(bytes)?;
                    is_answered = true;
                    until = Instant::now() + PAUSE;
                }
                Ok(0)
            })?;
        }
        if !is_answered {
            return Err("the server does not answer".into());
        }
    }
    let until = Instant::now() + PATIENCE;
    while delays.len() < WATCHERS * EVENTS {
        if Instant::now() > until {
            return Err(format!("only {} events came", delays.len()).into());
        }
        wires.wait(until, |_, bytes| arrivals(bytes, &mut delays))?;
    }
    let (median, late) = (percentile(&mut delays, 50), percentile(&mut delays, 99));
    let text = format!("median {:.2} ms, p99 {:.2} ms", milliseconds(median), milliseconds(late));
    table.add("create to delivery, 100 watchers", text, "median 5.8 ms");
    connection.call(Method::DELETE, "/api/v1/namespaces/bench-watch", Bytes::new()).await?;
    Ok(())
}

/// Notes how long ago the objects were sent that are complete with these bytes (nanoseconds, in a member `sent`); how
/// many bytes are done with. It looks for that and understands nothing else.
fn arrivals(bytes: &[u8], delays: &mut Vec<Duration>) -> Result<usize> {
    const NAME: &[u8] = br#""sent":""#;
    let arrived = since_epoch();
    let mut done = 0;
    while let Some(start) = find(&bytes[done..], NAME) {
        let digits = done + start + NAME.len();
        let Some(length) = find(&bytes[digits..], b"\"") else { return Ok(done) };
        let sent = Duration::from_nanos(std::str::from_utf8(&bytes[digits..digits + length])?.parse()?);
        delays.push(arrived.saturating_sub(sent));
        done = digits + length;
    }
    // What may be the beginning of the next object's member stays.
    Ok(bytes.len().saturating_sub(NAME.len()).max(done))
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
