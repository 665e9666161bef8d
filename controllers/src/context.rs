//! What the controllers share: the process, the client, and one informer a kind.

use std::sync::OnceLock;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use keelson_client::events::EventRecorder;
use keelson_client::informer::{Informer, InformerOptions, index};
use keelson_client::workqueue::WorkQueue;
use keelson_client::{Client, Object, ObjectKey};
use keelson_process::{Process, Shutdown};

use crate::telemetry::Reconciliations;
use crate::{endpointslice, meta, nodelifecycle, rootca, serviceaccount};

/// The index of objects that nobody controls, by namespace.
pub const ORPHANS: &str = "orphans";
/// The index of EndpointSlices by the Service that they belong to, as a key.
pub const SERVICE: &str = "service";

fn orphans<K: Object>(object: &K) -> Vec<String> {
    match meta::controller_of(object.metadata()) {
        Some(_) => Vec::new(),
        None => vec![meta::namespace(object.metadata()).to_owned()],
    }
}

fn service_key(slice: &EndpointSlice) -> Vec<String> {
    let service = endpointslice::service_of(slice);
    service.map(|name| meta::join_key(meta::namespace(&slice.metadata), name)).into_iter().collect()
}

/// The shared parts, alive as long as this process leads.
pub struct Context {
    pub process: Process,
    /// Its writes commit only while this process leads.
    pub client: Client,
    /// Begins when this process no longer leads.
    pub shutdown: Shutdown,
    pub metrics: Reconciliations,
    pods: OnceLock<Informer<Pod>>,
    nodes: OnceLock<Informer<Node>>,
    node_leases: OnceLock<Informer<Lease>>,
    replica_sets: OnceLock<Informer<ReplicaSet>>,
    deployments: OnceLock<Informer<Deployment>>,
    namespaces: OnceLock<Informer<Namespace>>,
    service_accounts: OnceLock<Informer<ServiceAccount>>,
    root_cas: OnceLock<Informer<ConfigMap>>,
    services: OnceLock<Informer<Service>>,
    endpoint_slices: OnceLock<Informer<EndpointSlice>>,
}

impl Context {
    pub fn new(process: Process, client: Client, shutdown: Shutdown, metrics: Reconciliations) -> Self {
        Self {
            process,
            client,
            shutdown,
            metrics,
            pods: OnceLock::new(),
            nodes: OnceLock::new(),
            node_leases: OnceLock::new(),
            replica_sets: OnceLock::new(),
            deployments: OnceLock::new(),
            namespaces: OnceLock::new(),
            service_accounts: OnceLock::new(),
            root_cas: OnceLock::new(),
            services: OnceLock::new(),
            endpoint_slices: OnceLock::new(),
        }
    }

    fn informer<K: Object>(&self, slot: &OnceLock<Informer<K>>, options: InformerOptions<K>) -> Informer<K> {
        slot.get_or_init(|| Informer::start(&self.client, options, &self.shutdown)).clone()
    }

    /// Indexed by controller, by node, and by namespace where nobody controls them.
    pub fn pods(&self) -> Informer<Pod> {
        let options = InformerOptions::default()
            .index(index::OWNER, index::controller_uid)
            .index(index::NODE, index::node_name)
            .index(ORPHANS, orphans);
        self.informer(&self.pods, options)
    }

    pub fn nodes(&self) -> Informer<Node> {
        self.informer(&self.nodes, InformerOptions::default())
    }

    /// The leases by which nodes show that they are alive.
    pub fn node_leases(&self) -> Informer<Lease> {
        self.informer(&self.node_leases, InformerOptions::default().namespace(nodelifecycle::LEASE_NAMESPACE))
    }

    /// Indexed by controller, and by namespace where nobody controls them.
    pub fn replica_sets(&self) -> Informer<ReplicaSet> {
        let options = InformerOptions::default().index(index::OWNER, index::controller_uid).index(ORPHANS, orphans);
        self.informer(&self.replica_sets, options)
    }

    pub fn deployments(&self) -> Informer<Deployment> {
        self.informer(&self.deployments, InformerOptions::default())
    }

    pub fn namespaces(&self) -> Informer<Namespace> {
        self.informer(&self.namespaces, InformerOptions::default())
    }

    /// Only those that this controller makes.
    pub fn service_accounts(&self) -> Informer<ServiceAccount> {
        let named = format!("metadata.name={}", serviceaccount::NAME);
        self.informer(&self.service_accounts, InformerOptions::default().fields(named))
    }

    /// Only those that this controller publishes.
    pub fn root_cas(&self) -> Informer<ConfigMap> {
        let named = format!("metadata.name={}", rootca::NAME);
        self.informer(&self.root_cas, InformerOptions::default().fields(named))
    }

    pub fn services(&self) -> Informer<Service> {
        self.informer(&self.services, InformerOptions::default())
    }

    /// Indexed by the Service that they belong to.
    pub fn endpoint_slices(&self) -> Informer<EndpointSlice> {
        self.informer(&self.endpoint_slices, InformerOptions::default().index(SERVICE, service_key))
    }

    /// Records events in the name of one controller.
    pub fn events(&self, component: &str) -> EventRecorder {
        EventRecorder::new(&self.client, component, "", &self.shutdown)
    }

    pub fn queue(&self) -> WorkQueue<ObjectKey> {
        WorkQueue::new()
    }

    /// Starts the workers of a controller.
    pub fn start_workers<R: crate::workers::Reconciler>(
        &self,
        name: &'static str,
        count: usize,
        queue: &WorkQueue<R::Key>,
        reconciler: std::sync::Arc<R>,
    ) {
        crate::workers::start(&self.process, &self.shutdown, name, count, queue, reconciler, &self.metrics);
    }

    /// Runs a pump of a controller.
    pub fn spawn_vital(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        crate::workers::spawn_vital(&self.process, &self.shutdown, name, task);
    }
}
