//! Puts the agent together and runs it until the process stops.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use keelson_client::Client;
use keelson_client::events::EventRecorder;
use keelson_client::informer::{Informer, InformerOptions};
use keelson_process::identity::TlsFiles;
use keelson_process::{BoxError, Process};
use tokio::sync::{Notify, Semaphore};

use crate::context::{Context, NodeFacts, Parts};
use crate::node::heartbeat::Heartbeat;
use crate::node::object::{self, Description};
use crate::node::pressure::Thresholds;
use crate::node::{addresses, capacity, info, watch};
use crate::pods::dispatcher::{self, Directory};
use crate::pods::dns::ClusterDns;
use crate::pods::references::References;
use crate::runtime::{self, Registries, Runtime};
use crate::volumes::tokens::Tokens;
use crate::{Options, door};

/// Sandboxes and containers made at once: enough to keep containerd busy, few enough not to drown it.
const PARALLEL_STARTS: usize = 10;
const PARALLEL_REPORTS: usize = 16;
/// How long the agent waits for containerd at its start.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    Options(String),
    #[error("cannot read this machine: {0}")]
    Machine(#[from] std::io::Error),
    #[error(transparent)]
    Client(#[from] keelson_client::Error),
    #[error("the container runtime cannot be used: {0}")]
    Runtime(#[from] runtime::Error),
    #[error("the streaming door cannot be opened: {0}")]
    Door(#[from] door::Error),
    #[error("{part} failed: {source}")]
    Part { part: &'static str, source: BoxError },
}

pub async fn run(options: Options, process: Process) -> Result<(), Error> {
    let name = match &options.hostname_override {
        Some(name) => name.to_lowercase(),
        None => addresses::hostname()?,
    };
    let healthy = process.health.check("node-registered");
    if options.healthz_port != 0 {
        let address = SocketAddr::new(options.healthz_bind_address, options.healthz_port);
        process.health.serve(address, None, process.shutdown.clone()).await?;
    }
    std::fs::create_dir_all(&options.root_dir)?;
    let thresholds = Thresholds::parse(&options.eviction_hard).map_err(Error::Options)?;
    let machine = capacity::Machine::read(&options.root_dir)?;
    let reserved = [&options.system_reserved, &options.kube_reserved]
        .into_iter()
        .map(|pairs| capacity::parse_reserved(pairs))
        .collect::<Result<Vec<_>, _>>()
        .map_err(Error::Options)?;
    let allocatable = capacity::allocatable(&machine, options.max_pods, &reserved, &thresholds);
    let facts = NodeFacts {
        name: name.clone(),
        ips: vec![options.node_ip.unwrap_or_else(addresses::default_ip)],
        root_dir: options.root_dir.clone(),
        cgroup_root: options.cgroup_root.clone().unwrap_or_else(|| format!("/keelson/{name}")),
        dns: ClusterDns {
            servers: options.cluster_dns.iter().map(IpAddr::to_string).collect(),
            domain: options.cluster_domain.clone(),
        },
        resolv_conf: options.resolv_conf.clone(),
        allocatable: allocatable.clone(),
        memory_capacity: i64::try_from(machine.memory_bytes).unwrap_or(i64::MAX),
    };

    let client = Client::from_kubeconfig(&options.kubeconfig, concat!("nodeagent/", env!("CARGO_PKG_VERSION")))?;
    let Some(runtime) = connect(&options, &process).await? else { return Ok(()) };
    let version = runtime.version().await?;
    let description = Description {
        name: name.clone(),
        ips: facts.ips.clone(),
        labels: object::parse_labels(&options.node_labels).map_err(Error::Options)?,
        taints: object::parse_taints(&options.register_with_taints).map_err(Error::Options)?,
        capacity: capacity::capacity(&machine, options.max_pods),
        allocatable,
        info: info::read(version.node_info()),
        port: options.port,
    };

    let shutdown = &process.shutdown;
    let pods = InformerOptions::<Pod>::default().fields(format!("spec.nodeName={name}"));
    let pods = Informer::start(&client, pods, shutdown);
    let nodes = Informer::<Node>::start(&client, InformerOptions::default().transform(forget_images), shutdown);
    let services = Informer::<Service>::start(&client, InformerOptions::default(), shutdown);
    let context = Context::new(Parts {
        tasks: tokio::runtime::Handle::current(),
        recorder: EventRecorder::new(&client, "kubelet", &name, shutdown),
        references: References::new(client.clone(), shutdown.clone()),
        tokens: Tokens::new(client.clone()),
        services,
        node: facts,
        starts: Semaphore::new(PARALLEL_STARTS),
        reports: Semaphore::new(PARALLEL_REPORTS),
        process: process.clone(),
        client,
        runtime,
    });

    let directory = Directory::default();
    let tls = TlsFiles::new(&options.client_ca_file, &options.tls_cert_file, &options.tls_private_key_file);
    let address = SocketAddr::new(options.address, options.port);
    let door = door::open(context.clone(), directory.clone(), address, &tls).await?;
    let changed = Arc::new(Notify::new());
    let heartbeat = Heartbeat {
        context: context.clone(),
        description,
        thresholds,
        period: Duration::from_secs(options.node_status_update_frequency.max(1)),
        changed: changed.clone(),
        registered: healthy,
    };
    let network = watch::Network {
        cni_conf_dir: options.cni_conf_dir.clone(),
        bridge: options.cni_bridge.clone(),
        addresses: options.cni_state_dir.join("addresses"),
    };
    let network = watch::run(context.clone(), nodes, network, changed);
    let part = |part| move |source| Error::Part { part, source };
    tokio::try_join!(
        async { heartbeat.run().await.map_err(part("the heartbeat")) },
        async { network.await.map_err(part("the pod network")) },
        async { dispatcher::run(context.clone(), pods, directory).await.map_err(part("the pods' dispatcher")) },
        async { door.await.map_err(part("the streaming door")) },
    )?;
    Ok(())
}

/// The images of other nodes are many and nobody here reads them.
fn forget_images(node: &mut Node) {
    if let Some(status) = &mut node.status {
        status.images = None;
    }
}

/// Waits for containerd, which may be starting just now. `None` when the process stops before it is there.
async fn connect(options: &Options, process: &Process) -> Result<Option<Runtime>, Error> {
    let settings = settings(options)?;
    let begun = tokio::time::Instant::now();
    loop {
        let error = match Runtime::connect(settings.clone()).await {
            Ok(runtime) => return Ok(Some(runtime)),
            Err(error) if begun.elapsed() > RUNTIME_PATIENCE => return Err(error.into()),
            Err(error) => error,
        };
        tracing::info!(%error, "waiting for the container runtime");
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(250)) => {}
            () = process.shutdown.begun() => return Ok(None),
        }
    }
}

fn settings(options: &Options) -> Result<runtime::Options, Error> {
    let endpoint = options.container_runtime_endpoint.as_str();
    let endpoint = endpoint.strip_prefix("unix://").unwrap_or(endpoint);
    let log_max_bytes = options
        .container_log_max_size
        .parse::<keelson_objects::quantity::Quantity>()
        .map_err(|error| Error::Options(format!("--container-log-max-size: {error}")))?
        .value();
    let mut mirrors = BTreeMap::new();
    for pair in options.registry_mirror.iter().filter(|pair| !pair.is_empty()) {
        let (registry, list) = pair
            .split_once('=')
            .ok_or_else(|| Error::Options(format!("--registry-mirror: {pair:?} is not registry=mirror")))?;
        mirrors.insert(registry.to_owned(), list.split(';').map(str::to_owned).collect());
    }
    Ok(runtime::Options {
        endpoint: PathBuf::from(endpoint),
        snapshotter: options.snapshotter.clone(),
        runc_root: options.runtime_root.clone(),
        data_dir: options.root_dir.join("runtime"),
        state_dir: options.runtime_dir.clone(),
        log_dir: options.pod_logs_dir.clone(),
        log_max_bytes: u64::try_from(log_max_bytes).unwrap_or(u64::MAX),
        log_max_files: options.container_log_max_files,
        cni_conf_dir: options.cni_conf_dir.clone(),
        cni_bin_dirs: options.cni_bin_dir.clone(),
        cni_cache_dir: options.cni_state_dir.clone(),
        registries: Registries { mirrors, insecure: options.insecure_registry.clone() },
        max_parallel_pulls: options.max_parallel_image_pulls,
        ..runtime::Options::default()
    })
}
