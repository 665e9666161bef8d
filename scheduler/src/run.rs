//! The life of the scheduler: caches, leadership, the actor and what feeds it.

use std::net::SocketAddr;
use std::sync::Arc;

use keelson_client::events::EventRecorder;
use keelson_client::informer::{Event, Informer, InformerOptions, Subscription};
use keelson_client::leader::{self, LeaderOptions};
use keelson_client::{Cached, Client, ObjectKey};
use keelson_process::identity::{ClientAuth, TlsMaterial};
use keelson_process::supervision::{Inbox, Spec, supervise};
use keelson_process::{Process, Shutdown};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::Options;
use crate::cluster::Pod;
use crate::metrics::Counts;
use crate::outcome::Outcomes;
use crate::service::{Caches, FLUSH, Mail, Scheduler, Turns};

/// Why the scheduler ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use {path}: {source}")]
    Certificate { path: String, source: std::io::Error },
    #[error("cannot serve health and metrics: {0}")]
    Identity(#[from] keelson_process::identity::Error),
    #[error("cannot listen at {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error("cannot reach the cluster: {0}")]
    Client(#[from] keelson_client::Error),
    #[error("leader election lost")]
    LeadershipLost,
}

/// Runs until the process is asked to end, or leadership is lost.
pub async fn run(options: Options, process: Process) -> Result<(), Error> {
    let client = Client::from_kubeconfig(&options.kubeconfig, &format!("kube-scheduler/{}", process.version))?;
    serve_health(&options, &process).await?;
    let synced = process.health.check("informer-sync");
    let shutdown = process.shutdown.clone();
    let caches = Caches {
        pods: Informer::start_on(client.resource(&Pod::resource(), ""), InformerOptions::default(), &shutdown),
        nodes: Informer::start(&client, InformerOptions::default(), &shutdown),
        namespaces: Informer::start(&client, InformerOptions::default(), &shutdown),
    };
    if !(caches.pods.synced().await && caches.nodes.synced().await && caches.namespaces.synced().await) {
        return Ok(());
    }
    synced.set_ok();
    if !options.leader_elect {
        schedule(&options, &process, &client, caches, &shutdown).await;
        return Ok(());
    }
    let identity = leader::unique_identity(&hostname());
    let election = LeaderOptions {
        lease_duration: options.leader_elect_lease_duration,
        renew_deadline: options.leader_elect_renew_deadline,
        retry_period: options.leader_elect_retry_period,
        ..LeaderOptions::new(&options.leader_elect_resource_namespace, &options.leader_elect_resource_name, &identity)
    };
    let Some(leadership) = leader::acquire(&client, election, &shutdown).await else { return Ok(()) };
    let guarded = client.with_guard(leadership.guard());
    schedule(&options, &process, &guarded, caches, leadership.shutdown()).await;
    if !shutdown.has_begun() {
        return Err(Error::LeadershipLost);
    }
    leadership.release().await;
    Ok(())
}

/// Schedules until the shutdown.
async fn schedule(options: &Options, process: &Process, client: &Client, caches: Caches, shutdown: &Shutdown) {
    let counts = Counts::new(&process.metrics);
    let recorder = EventRecorder::new(client, &options.scheduler_name, "", shutdown);
    let outcomes = Outcomes::new(client.clone(), recorder, counts.clone(), &options.scheduler_name);
    let (at, next_turn) = watch::channel(None);
    // Bounded by the bindings under way, each of which sends at most one.
    let (unbound, failures) = mpsc::unbounded_channel();
    let turns = Turns { now: Arc::new(Notify::new()), at, unbound };
    let name: Arc<str> = options.scheduler_name.as_str().into();
    let factory = {
        let (caches, turns) = (caches.clone(), turns.clone());
        move || Scheduler::new(caches.clone(), outcomes.clone(), counts.clone(), turns.clone(), name.clone())
    };
    let inbox = supervise(process, Spec::new("scheduler"), factory);
    tokio::spawn(feed(caches.namespaces.subscribe(), inbox.clone(), shutdown.clone(), Mail::Namespaces));
    tokio::spawn(feed(caches.nodes.subscribe(), inbox.clone(), shutdown.clone(), Mail::Nodes));
    tokio::spawn(feed(caches.pods.subscribe(), inbox.clone(), shutdown.clone(), Mail::Pods));
    give_turns(inbox, turns.now, next_turn, failures, shutdown).await;
}

/// Forwards what changed.
async fn feed<K: Cached>(
    mut changes: Subscription<K>,
    inbox: Inbox<Mail>,
    shutdown: Shutdown,
    mail: fn(Vec<ObjectKey>) -> Mail,
) {
    loop {
        let batch = tokio::select! {
            batch = changes.batch() => batch,
            () = shutdown.begun() => return,
        };
        let Some(batch) = batch else { return };
        let mut keys = Vec::with_capacity(batch.len());
        let mut dropped = false;
        for event in batch {
            match event {
                Event::Applied { new, .. } => keys.push(new.key()),
                Event::Deleted(object) => keys.push(object.key()),
                Event::Resync => dropped = true,
            }
        }
        let mail = if dropped { Mail::Reload } else { mail(keys) };
        if inbox.send(mail).await.is_err() {
            return;
        }
    }
}

/// Gives the scheduler its turns: when it asked for one, when a back-off ends, when a binding failed, now and then.
async fn give_turns(
    inbox: Inbox<Mail>,
    now: Arc<Notify>,
    mut next_turn: watch::Receiver<Option<Instant>>,
    mut failures: mpsc::UnboundedReceiver<(Arc<crate::cluster::PodInfo>, u32)>,
    shutdown: &Shutdown,
) {
    let mut flush = tokio::time::interval(FLUSH);
    loop {
        let due = *next_turn.borrow_and_update();
        let mail = tokio::select! {
            () = shutdown.begun() => return,
            () = inbox.ended() => return,
            () = now.notified() => Mail::Continue,
            () = sleep_until(due) => Mail::Continue,
            _ = next_turn.changed() => continue,
            Some((pod, attempts)) = failures.recv() => Mail::Unbound { pod, attempts },
            _ = flush.tick() => Mail::Flush,
        };
        if inbox.send(mail).await.is_err() {
            return;
        }
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn serve_health(options: &Options, process: &Process) -> Result<(), Error> {
    if options.secure_port == 0 {
        return Ok(());
    }
    let tls = match (&options.tls_cert_file, &options.tls_private_key_file) {
        (Some(certificate), Some(key)) => {
            let read = |path: &std::path::Path| {
                std::fs::read(path).map_err(|source| Error::Certificate { path: path.display().to_string(), source })
            };
            let material = TlsMaterial { ca: Vec::new(), certificate: read(certificate)?, key: read(key)? };
            Some(material.server_config(ClientAuth::None)?)
        }
        _ => None,
    };
    let address = SocketAddr::new(options.bind_address, options.secure_port);
    let served = process.health.serve(address, tls, process.shutdown.clone()).await;
    served.map(drop).map_err(|source| Error::Listen { address, source })
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "scheduler".to_owned() } else { name.to_owned() }
}
