//! The controllers of a cluster: what turns objects that say what should be into objects that make it so.
//!
//! Each controller is a folder: pure planners (`plan` and its like), which decide from what was observed and nothing
//! else, and around them a pump, which turns changes into keys, and a reconciler, which runs the plan for a key and
//! carries it out. The frame of them all is `workers`; what they share is `context`.
//!
//! One process of several runs the controllers: the one that holds the Lease. Every write depends on the Lease still
//! being held, so a leader that was replaced while it slept changes nothing.
#![forbid(unsafe_code)]

mod context;
mod deployment;
mod durations;
mod dynamic;
mod endpointslice;
mod expectations;
mod follow;
mod garbage;
mod meta;
mod namespace;
mod nodeipam;
mod nodelifecycle;
mod options;
mod ownership;
mod patching;
mod podgc;
mod pods;
mod registry;
mod replicaset;
mod rootca;
mod serviceaccount;
mod telemetry;
mod workers;

use std::path::PathBuf;
use std::time::Duration;

use keelson_client::{Client, leader};
use keelson_process::Process;
use keelson_process::identity::{ClientAuth, TlsFiles};

use context::Context;
pub use options::Options;
use registry::Prepared;
use telemetry::Reconciliations;

/// How often a starting process looks whether the API server is there yet.
const KNOCK: Duration = Duration::from_millis(100);

/// Why the controllers cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use kubeconfig {path}: {source}")]
    Kubeconfig { path: PathBuf, source: keelson_client::Error },
    #[error("cannot read root CA file {path}: {source}")]
    RootCa { path: PathBuf, source: std::io::Error },
    #[error("--controllers names {name:?}, which is none; there are {known}")]
    UnknownController { name: String, known: String },
    #[error("cannot cut up the cluster CIDR: {0}")]
    ClusterCidr(#[from] nodeipam::RangeError),
    #[error("cannot serve health: {0}")]
    Health(String),
    #[error("the lease was lost: another process leads now, or the API server could not be reached in time")]
    LeaseLost,
}

/// Runs the controllers until the process is asked to end, or until the Lease is lost.
pub async fn run(options: Options, process: Process) -> Result<(), Error> {
    let prepared = Prepared::new(&options)?;
    serve_health(&options, &process).await?;
    let user_agent = format!("kube-controller-manager/{}", process.version);
    let client = Client::from_kubeconfig(&options.kubeconfig, &user_agent)
        .map_err(|source| Error::Kubeconfig { path: options.kubeconfig.clone(), source })?;
    let leading = telemetry::leading(&process.metrics);
    // Standing by is what a candidate is for: it is ready before it leads.
    process.health.check("process").set_ok();
    let reconciliations = Reconciliations::new(&process.metrics);
    if !options.leader_election.leader_elect {
        leading.set(1);
        let context = Context::new(process.clone(), client, process.shutdown.child(), reconciliations);
        lead(&context, &options, &prepared).await?;
        return Ok(());
    }
    await_api_server(&client, &process).await;
    let election = options.leader_election.for_host(&host());
    let Some(leadership) = leader::acquire(&client, election, &process.shutdown).await else {
        return Ok(());
    };
    leading.set(1);
    let guarded = client.with_guard(leadership.guard());
    let context = Context::new(process.clone(), guarded, leadership.shutdown().clone(), reconciliations);
    lead(&context, &options, &prepared).await?;
    leading.set(0);
    if !process.shutdown.has_begun() {
        return Err(Error::LeaseLost);
    }
    leadership.release().await;
    Ok(())
}

/// Waits until the API server answers at all. A candidate that fails to reach it waits for seconds between its tries,
/// which is right while others may lead, and a waste of time while a cluster starts.
async fn await_api_server(client: &Client, process: &Process) {
    let mut told = false;
    loop {
        match dynamic::discover(client).await {
            Err(error) if error.is_transport() => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(%error, "waiting for the API server");
                }
            }
            _ => return,
        }
        tokio::select! {
            () = tokio::time::sleep(KNOCK) => {}
            () = process.shutdown.begun() => return,
        }
    }
}

/// Starts the controllers and waits for the end of the leadership.
async fn lead(context: &Context, options: &Options, prepared: &Prepared) -> Result<(), Error> {
    let started = context.process.health.check("controllers");
    tokio::select! {
        outcome = registry::start(context, options, prepared) => outcome?,
        () = context.shutdown.begun() => return Ok(()),
    }
    started.set_ok();
    tracing::info!("the controllers run");
    context.shutdown.begun().await;
    Ok(())
}

async fn serve_health(options: &Options, process: &Process) -> Result<(), Error> {
    let Some(address) = options.health_address() else {
        return Ok(());
    };
    let failed = |error: &dyn std::fmt::Display| Error::Health(format!("{address}: {error}"));
    let tls = match (&options.tls_cert_file, &options.tls_private_key_file) {
        (Some(certificate), Some(key)) => {
            let files = TlsFiles::new(certificate, certificate, key);
            Some(files.server_config(ClientAuth::None).map_err(|error| failed(&error))?)
        }
        _ => None,
    };
    process.health.serve(address, tls, process.shutdown.clone()).await.map_err(|error| failed(&error))?;
    Ok(())
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "controllers".to_owned() } else { name.to_owned() }
}
