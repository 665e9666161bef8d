//! Everything that clients may ask, by the names of the services.

use std::sync::Arc;

use http::Request;
use keelson_wire::etcdserverpb::cluster_server::{self, ClusterServer};
use keelson_wire::etcdserverpb::kv_server::{self, KvServer};
use keelson_wire::etcdserverpb::lease_server::{self, LeaseServer};
use keelson_wire::etcdserverpb::maintenance_server::{self, MaintenanceServer};
use keelson_wire::etcdserverpb::watch_server::{self, WatchServer};
use keelson_wire::store::store_server::{self, StoreServer};
use tonic::Status;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::server::{HealthReporter, HealthService};
use tower::Service as _;

use super::body::Incoming;
use super::serving::{Answer, Answers, MessageMethod};
use super::{Requests, cluster, kv, lease, maintenance, pipeline, watch};
use crate::watch::Settings;

/// What etcd allows a gRPC message beyond the request that it carries.
const MESSAGE_OVERHEAD: usize = 512 << 10;

#[derive(Clone)]
pub struct Services(Arc<All>);

struct All {
    requests: Arc<Requests>,
    health: HealthServer<HealthService>,
    kv: KvServer<kv::Kv>,
    store: StoreServer<pipeline::Pipeline>,
    watch: WatchServer<watch::Watch>,
    lease: LeaseServer<lease::Lease>,
    cluster: ClusterServer<cluster::Cluster>,
    maintenance: MaintenanceServer<maintenance::Maintenance>,
}

impl Services {
    /// The health service says SERVING of the whole server, whose name is empty: the door opens when the member can
    /// answer, and is closed when it ends (as etcd).
    pub fn new(requests: &Arc<Requests>, watch_settings: Settings) -> Self {
        let largest = requests.limits().max_request_bytes + MESSAGE_OVERHEAD;
        Self(Arc::new(All {
            requests: requests.clone(),
            health: HealthServer::new(HealthService::from_health_reporter(HealthReporter::new())),
            kv: KvServer::new(kv::Kv(requests.clone()))
                .max_decoding_message_size(largest)
                .max_encoding_message_size(usize::MAX),
            store: StoreServer::new(pipeline::Pipeline::new(requests.clone()))
                .max_decoding_message_size(largest + pipeline::MAX_BATCH_BYTES)
                .max_encoding_message_size(usize::MAX),
            watch: WatchServer::new(watch::Watch::new(requests.clone(), watch_settings))
                .max_decoding_message_size(largest)
                .max_encoding_message_size(usize::MAX),
            lease: LeaseServer::new(lease::Lease(requests.clone())).max_encoding_message_size(usize::MAX),
            cluster: ClusterServer::new(cluster::Cluster(requests.clone())),
            maintenance: MaintenanceServer::new(maintenance::Maintenance(requests.clone())),
        }))
    }
}

impl Answers for Services {
    fn message_method(path: &str) -> Option<MessageMethod<Self>> {
        Some(match path.strip_prefix('/')?.strip_prefix(kv_server::SERVICE_NAME)?.strip_prefix('/')? {
            "Range" => |services, message| kv::range(services.0.requests.clone(), message),
            "Put" => |services, message| kv::put(services.0.requests.clone(), message),
            "DeleteRange" => |services, message| kv::delete_range(services.0.requests.clone(), message),
            "Txn" => |services, message| kv::txn(services.0.requests.clone(), message),
            _ => return None,
        })
    }

    fn answer(&self, request: Request<Incoming>) -> Answer {
        let all = &self.0;
        // A path is /SERVICE/METHOD.
        match request.uri().path().split('/').nth(1).unwrap_or_default() {
            kv_server::SERVICE_NAME => all.kv.clone().call(request),
            store_server::SERVICE_NAME => all.store.clone().call(request),
            watch_server::SERVICE_NAME => all.watch.clone().call(request),
            lease_server::SERVICE_NAME => all.lease.clone().call(request),
            cluster_server::SERVICE_NAME => all.cluster.clone().call(request),
            maintenance_server::SERVICE_NAME => all.maintenance.clone().call(request),
            health_server::SERVICE_NAME => all.health.clone().call(request),
            _ => Box::pin(async { Ok(Status::unimplemented("").into_http()) }),
        }
    }
}
