//! Start-up and end: store, cache, doors, first objects, in this order, and back.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use keelson_process::{
    Process,
    identity::{self, ClientAuth, TlsFiles},
};

use crate::{
    admission, authentication,
    authentication::{Authenticator, Issuer, Verifier},
    authorization::SystemRules,
    bootstrap,
    cache::Cache,
    doors, kinds,
    metrics::Metrics,
    options::Options,
    pipeline::{Limits, Pipeline},
    registry::Registry,
    settings::Settings,
    storage::{self, Endpoints, Store, StoreTls},
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] storage::ConfigurationError),
    #[error(transparent)]
    Authentication(#[from] authentication::Error),
    #[error("the REST door's TLS is not usable: {0}")]
    Tls(#[from] identity::Error),
    #[error("the REST door cannot listen at {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    #[error(transparent)]
    Grpc(#[from] doors::grpc::Error),
}

/// Where a running server listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub rest: SocketAddr,
    pub grpc: SocketAddr,
}

/// Serves until the process is asked to stop.
pub async fn run(options: Options, process: Process) -> Result<(), Error> {
    run_with(options, process, |_| {}).await
}

/// The same; `listening` is told the addresses, which matters where ports are chosen freely.
pub async fn run_with(options: Options, process: Process, listening: impl FnOnce(Addresses)) -> Result<(), Error> {
    let store_check = process.health.check("etcd");
    let cache_check = process.health.check("informer-sync");
    let objects_check = process.health.check("poststarthook/start-system-namespaces-controller");

    let pipeline_parts = Parts::load(&options)?;
    let store_tls = StoreTls {
        ca: options.etcd_cafile.clone(),
        certificate: options.etcd_certfile.clone(),
        key: options.etcd_keyfile.clone(),
    };
    let metrics = Metrics::new(&process.metrics);
    let fail = |process: &Process| {
        let shutdown = process.shutdown.clone();
        move |cause: String| shutdown.fail(cause)
    };
    let store = Store::start(Endpoints::new(&options.etcd_servers, &store_tls)?, fail(&process));
    let registry = Registry::new(kinds::all());
    let (filled, fill) = tokio::sync::oneshot::channel();
    let ready = move || {
        let _ = filled.send(());
    };
    let cache = Cache::start(&registry, &store, metrics.clone(), store_check, ready, fail(&process));
    if options.etcd_compaction_interval > 0 {
        let interval = Duration::from_secs(options.etcd_compaction_interval);
        tokio::spawn(storage::compaction::run(store.clone(), cache.clone(), interval));
    }
    let pipeline = Arc::new(pipeline_parts.assemble(&options, registry, store, cache, metrics));

    tokio::select! {
        _ = fill => {}
        () = process.shutdown.begun() => return Ok(()),
    }
    cache_check.set_ok();

    let files = TlsFiles::new(&options.client_ca_file, &options.tls_cert_file, &options.tls_private_key_file);
    let tls = files.server_config(ClientAuth::Optional)?;
    let workers = match options.workers {
        0 => std::thread::available_parallelism().map_or(2, std::num::NonZero::get),
        workers => workers,
    };
    let address = SocketAddr::new(options.bind_address, options.secure_port);
    let (rest, handle) = doors::rest::serve(address, tls, pipeline.clone(), process.clone(), workers)
        .map_err(|error| Error::Bind(address, error))?;
    let address = SocketAddr::new(options.bind_address, options.grpc_port);
    let grpc = doors::grpc::serve(address, &files, pipeline.clone(), process.shutdown.clone()).await?;
    tracing::info!(%rest, %grpc, "serving");
    listening(Addresses { rest, grpc });

    tokio::select! {
        () = bootstrap::ensure(&pipeline) => objects_check.set_ok(),
        () = process.shutdown.begun() => {}
    }
    process.shutdown.begun().await;
    handle.stop(true).await;
    Ok(())
}

/// What is read from files before anything is started, so that a wrong path ends the process at once.
struct Parts {
    authenticator: Authenticator,
    issuer: Option<Issuer>,
}

impl Parts {
    fn load(options: &Options) -> Result<Parts, Error> {
        let issuer_name = options.service_account_issuer.clone();
        let mut keys: Vec<PathBuf> = options.service_account_key_file.clone();
        if keys.is_empty() {
            keys.extend(options.service_account_signing_key_file.clone());
        }
        let verifier = match keys.is_empty() {
            true => None,
            false => Some(Verifier::load(&keys, issuer_name.clone(), audiences(options))?),
        };
        let issuer = match &options.service_account_signing_key_file {
            Some(path) => Some(Issuer::load(path, issuer_name)?),
            None => None,
        };
        Ok(Parts { authenticator: Authenticator::new(options.token_auth_file.as_ref(), verifier)?, issuer })
    }

    fn assemble(
        self,
        options: &Options,
        registry: Registry,
        store: Store,
        cache: Arc<Cache>,
        metrics: Metrics,
    ) -> Pipeline {
        let settings = Settings {
            service_cidr: options.service_cluster_ip_range,
            advertise_address: options.advertised(),
            secure_port: options.secure_port,
            service_account_issuer: options.service_account_issuer.clone(),
            api_audiences: audiences(options),
            node_client: node_client(options),
        };
        Pipeline {
            admission: admission::default_chain(&settings),
            registry,
            settings,
            store,
            cache,
            authenticator: self.authenticator,
            authorizer: Box::new(SystemRules),
            issuer: self.issuer,
            metrics,
            limits: Limits::new(options.max_requests_inflight, options.max_mutating_requests_inflight),
        }
    }
}

fn audiences(options: &Options) -> Vec<String> {
    match options.api_audiences.is_empty() {
        true => vec![options.service_account_issuer.clone()],
        false => options.api_audiences.clone(),
    }
}

fn node_client(options: &Options) -> Option<TlsFiles> {
    let certificate = options.kubelet_client_certificate.as_ref()?;
    let key = options.kubelet_client_key.as_ref()?;
    let ca = options.kubelet_certificate_authority.as_ref().unwrap_or(&options.client_ca_file);
    Some(TlsFiles::new(ca, certificate, key))
}
