//! Upstream's kube-apiserver on the members, and kubectl through it, while they are killed, cut off and stopped.
//!
//! What a store promises to an API server is more than etcd's answers one by one: it starts on it, keeps its caches by
//! list and watch over every change of leader, and what it acknowledges to kubectl must be there in the end.

mod api_server;
mod judge;
mod kubectl;
mod tour;
mod watch;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::spawn_blocking;

use crate::clients::Pulse;
use crate::cluster::Cluster;
use crate::faults::{Executor, Monitor, schedule};
use crate::judge::{Kind, Violation};
use crate::options::Options;
use crate::plan::Plan;
use crate::summary::Summary;
use crate::{Error, Result};
use api_server::ApiServer;
use kubectl::Kubectl;
use writer::Writer;

/// Where all of it happens.
const NAMESPACE: &str = "chaos";

/// Work that blocks, aside from the members' timers.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.map_err(|error| Error::tried("work", "aside", error))?
}

/// Starts members and API server, takes a tour, then writes and watches through one round of faults.
pub async fn run(program: &Path, options: &Options, plan: Plan, directory: &Path) -> Result<Summary> {
    let cluster = Cluster::start(plan.shape(options)?, directory)?;
    let urls = Arc::new(cluster.client_urls());
    let monitor = Monitor::new(urls.clone());
    let followers: Vec<_> = (0..urls.len()).map(|place| tokio::spawn(monitor.clone().follow(place))).collect();
    let pulse = Arc::new(Pulse::default());
    let mut executor = Executor::new(cluster, monitor.clone(), pulse.clone(), options.verbose);
    let mut summary = Summary::new(plan.seed);
    summary.healed(executor.heal().await?);

    let mut server = ApiServer::start(program, &urls, directory)?;
    let kubectl = Kubectl::new(&options.kubectl, directory);
    server.wait_until_ready(&kubectl).await?;
    println!("the API server is ready");
    let visitor = kubectl.clone();
    aside(move || tour::take(&visitor)).await?;
    println!("the tour went well: chunked lists, a deployment patched, a kind of its own, deletions");

    kubectl.run(&["create", "namespace", NAMESPACE])?;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = Writer::new(kubectl.within(NAMESPACE), stop.clone(), monitor.clone(), pulse.clone());
    let writer = tokio::spawn(aside(move || writer.run()));
    let (watching, stopped) = (kubectl.within(NAMESPACE), stop.clone());
    let watcher = tokio::spawn(aside(move || watch::follow(&watching, &stopped)));
    let steps = schedule(plan.seed, &plan.faults, plan.length);
    executor.run(&steps, plan.length).await?;
    stop.store(true, Ordering::Release);
    let ended = |error| Error::tried("wait for", "kubectl", error);
    let written = writer.await.map_err(ended)??;
    pulse.pause();
    summary.healed(executor.heal().await?);
    if let Some(status) = server.ended() {
        let text = format!("the API server ended by itself: {status}, see its log");
        summary.violations.push(Violation::new(Kind::Died, text));
        return Ok(summary);
    }
    let reader = kubectl.within(NAMESPACE);
    let kept = aside(move || reader.names()).await?;
    // The watch ends when it has shown this one.
    let marker = kubectl.within(NAMESPACE);
    aside(move || marker.run(&["create", "configmap", watch::LAST]).map(drop)).await?;
    let followed = watcher.await.map_err(ended)??;
    followers.iter().for_each(tokio::task::JoinHandle::abort);

    summary.rounds = 1;
    (summary.answered, summary.refused) = (written.answered, written.refused);
    (summary.sessions, summary.events) = (followed.sessions, followed.events.len());
    summary.leader_changes = monitor.changes();
    summary.failovers = pulse.failovers();
    summary.longest_silence = pulse.longest();
    summary.violations.extend(judge::judge(&written, &kept, &followed));
    summary.violations.extend(executor.violations);
    summary.violations.extend(monitor.violations());
    Ok(summary)
}
