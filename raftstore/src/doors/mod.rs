//! The doors of a member: etcd's v3 API and the pipeline for clients, the raft transport for the other members.

mod cluster;
mod connection;
mod kv;
mod lanes;
mod lease;
mod listen;
mod maintenance;
mod pipeline;
mod requests;
mod watch;

pub use lanes::Lanes;
pub use listen::{Door, DoorTls, listen};
pub use requests::Requests;

use std::sync::Arc;

use keelson_wire::etcdserverpb as etcd;
use keelson_wire::store::store_server::StoreServer;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::watch::Settings;

/// What etcd allows a gRPC message beyond the request that it carries.
const MESSAGE_OVERHEAD: usize = 512 << 10;

/// Everything that clients may ask. The health service says SERVING of the whole server, whose name is empty: the door
/// opens when the member can answer, and is closed when it ends (as etcd).
pub fn client_routes(requests: Arc<Requests>, watch_settings: Settings) -> Routes {
    let largest = requests.limits().max_request_bytes + MESSAGE_OVERHEAD;
    let health = HealthService::from_health_reporter(HealthReporter::new());
    let mut routes = Routes::builder();
    routes
        .add_service(HealthServer::new(health))
        .add_service(
            etcd::kv_server::KvServer::new(kv::Kv(requests.clone()))
                .max_decoding_message_size(largest)
                .max_encoding_message_size(usize::MAX),
        )
        .add_service(
            StoreServer::new(pipeline::Pipeline::new(requests.clone()))
                .max_decoding_message_size(largest + pipeline::MAX_BATCH_BYTES)
                .max_encoding_message_size(usize::MAX),
        )
        .add_service(
            etcd::watch_server::WatchServer::new(watch::Watch::new(requests.clone(), watch_settings))
                .max_decoding_message_size(largest)
                .max_encoding_message_size(usize::MAX),
        )
        .add_service(
            etcd::lease_server::LeaseServer::new(lease::Lease(requests.clone())).max_encoding_message_size(usize::MAX),
        )
        .add_service(etcd::cluster_server::ClusterServer::new(cluster::Cluster(requests.clone())))
        .add_service(etcd::maintenance_server::MaintenanceServer::new(maintenance::Maintenance(requests)));
    routes.routes()
}
