//! Which controllers there are, and how each is started from the options.

use crate::context::Context;
use crate::nodeipam::Ranges;
use crate::options::Options;
use crate::{
    Error, deployment, endpointslice, garbage, namespace, nodeipam, nodelifecycle, podgc, replicaset, rootca,
    serviceaccount,
};

const DEPLOYMENT: &str = "deployment-controller";
const REPLICASET: &str = "replicaset-controller";
const GARBAGE: &str = "garbage-collector-controller";
const NAMESPACE: &str = "namespace-controller";
const NODE_LIFECYCLE: &str = "node-lifecycle-controller";
const TAINT_EVICTION: &str = "taint-eviction-controller";
const NODE_IPAM: &str = "node-ipam-controller";
const SERVICE_ACCOUNT: &str = "serviceaccount-controller";
const ROOT_CA: &str = "root-ca-certificate-publisher-controller";
const POD_GC: &str = "pod-garbage-collector-controller";
const ENDPOINT_SLICE: &str = "endpointslice-controller";

/// The names under which `--controllers` knows them: upstream's.
pub const NAMES: [&str; 11] = [
    DEPLOYMENT,
    REPLICASET,
    GARBAGE,
    NAMESPACE,
    NODE_LIFECYCLE,
    TAINT_EVICTION,
    NODE_IPAM,
    SERVICE_ACCOUNT,
    ROOT_CA,
    POD_GC,
    ENDPOINT_SLICE,
];

/// What the controllers need beyond the options, read and checked before anything is started.
#[derive(Clone, Debug)]
pub struct Prepared {
    root_ca: Option<String>,
}

impl Prepared {
    pub fn new(options: &Options) -> Result<Self, Error> {
        if let [name, ..] = options.unknown_controllers()[..] {
            return Err(Error::UnknownController { name: name.to_owned(), known: NAMES.join(", ") });
        }
        let read = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).map_err(|source| Error::RootCa { path: path.clone(), source })
        };
        let root_ca = options.root_ca_file.as_ref().map(read).transpose()?;
        ranges(options)?;
        Ok(Self { root_ca })
    }
}

fn ranges(options: &Options) -> Result<Ranges, Error> {
    Ranges::new(options.nodes.cluster_cidr, options.nodes.mask()).map_err(Error::from)
}

/// Starts every enabled controller. Each waits for its own caches, none for another controller.
pub async fn start(context: &Context, options: &Options, prepared: &Prepared) -> Result<(), Error> {
    let concurrency = &options.concurrency;
    let enabled = |name: &str| options.enables(name);
    let ranges = ranges(options)?;
    let deployments = async {
        if enabled(DEPLOYMENT) {
            deployment::start(context, concurrency.concurrent_deployment_syncs).await;
        }
    };
    let replica_sets = async {
        if enabled(REPLICASET) {
            replicaset::start(context, concurrency.concurrent_replicaset_syncs).await;
        }
    };
    let collector = async {
        if enabled(GARBAGE) {
            garbage::start(context, concurrency.concurrent_gc_syncs).await;
        }
    };
    let namespaces = async {
        if enabled(NAMESPACE) {
            namespace::start(context, concurrency.concurrent_namespace_syncs).await;
        }
        if enabled(SERVICE_ACCOUNT) {
            serviceaccount::start(context, concurrency.concurrent_serviceaccount_token_syncs).await;
        }
        if let Some(ca) = prepared.root_ca.clone().filter(|_| enabled(ROOT_CA)) {
            rootca::start(context, concurrency.concurrent_serviceaccount_token_syncs, ca).await;
        }
    };
    let nodes = async {
        if enabled(NODE_IPAM) && options.nodes.allocate_node_cidrs {
            nodeipam::start(context, ranges).await;
        }
        if enabled(NODE_LIFECYCLE) {
            nodelifecycle::start(context, options.nodes.settings()).await;
        }
        if enabled(TAINT_EVICTION) {
            nodelifecycle::start_eviction(context).await;
        }
        if enabled(POD_GC) {
            podgc::start(context, options.terminated_pod_gc_threshold).await;
        }
    };
    let endpoints = async {
        if enabled(ENDPOINT_SLICE) {
            let limit = usize::from(options.max_endpoints_per_slice);
            endpointslice::start(context, concurrency.concurrent_service_endpoint_syncs, limit).await;
        }
    };
    tokio::join!(deployments, replica_sets, collector, namespaces, nodes, endpoints);
    Ok(())
}
