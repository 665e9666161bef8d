//! A watch through the API server, resumed wherever it ends.

use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::NAMESPACE;
use super::kubectl::Kubectl;
use crate::{Error, Result};

/// The watch has seen all when it has seen this configmap.
pub const LAST: &str = "the-last-one";
/// So long after the end of the faults it must be through.
const PATIENCE: Duration = Duration::from_secs(60);
/// A session ends by itself after this time, and is resumed.
const SESSION: u64 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// ADDED, MODIFIED or DELETED.
    pub kind: String,
    pub name: String,
    pub version: u64,
}

#[derive(Debug, Default)]
pub struct Followed {
    pub sessions: usize,
    pub events: Vec<Sight>,
    /// Why it did not come to its end.
    pub failure: Option<String>,
}

/// Watches the configmaps from the first on until [`LAST`] is made.
pub fn follow(kubectl: &Kubectl, stop: &AtomicBool) -> Result<Followed> {
    let mut followed = Followed::default();
    let mut version = 1;
    let mut deadline = None;
    loop {
        if stop.load(Ordering::Acquire) && *deadline.get_or_insert(Instant::now() + PATIENCE) < Instant::now() {
            followed.failure = Some(format!("the watch did not get to its end; it was at version {version}"));
            return Ok(followed);
        }
        let path = format!(
            "/api/v1/namespaces/{NAMESPACE}/configmaps?watch=true&resourceVersion={version}&timeoutSeconds={SESSION}"
        );
        let mut child = kubectl.start(&["get", "--raw", &path])?;
        followed.sessions += 1;
        let ended = match child.stdout.take() {
            Some(stdout) => session(BufReader::new(stdout), &mut version, &mut followed),
            None => Err(Error::new("kubectl has no standard output")),
        };
        let _ = child.kill();
        let _ = child.wait();
        if ended? {
            return Ok(followed);
        }
    }
}

/// Whether the watch is through.
fn session(lines: impl BufRead, version: &mut u64, followed: &mut Followed) -> Result<bool> {
    for line in lines.lines() {
        let line = line.map_err(|error| Error::tried("read", "a watch", error))?;
        let Ok(event) = serde_json::from_str::<Value>(&line) else {
            // Cut off where the connection ended.
            return Ok(false);
        };
        let (kind, object) = (event["type"].as_str().unwrap_or_default(), &event["object"]);
        if kind == "ERROR" {
            followed.failure = Some(object.to_string());
            return Ok(true);
        }
        let told = object["metadata"]["resourceVersion"].as_str().and_then(|told| told.parse().ok());
        *version = told.ok_or_else(|| Error::new(format!("an event without a version: {line}")))?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if name == LAST {
            return Ok(true);
        }
        followed.events.push(Sight { kind: kind.to_owned(), name: name.to_owned(), version: *version });
    }
    Ok(false)
}
