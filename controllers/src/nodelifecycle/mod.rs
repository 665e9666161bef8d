//! The node lifecycle controller: a node that falls silent is told so, tainted, and in time emptied.

mod eviction;
mod evictor;
mod health;
mod keeper;
mod taints;
mod zones;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use keelson_client::ObjectKey;
use keelson_client::informer::{Event, Informer};
use keelson_client::workqueue::WorkQueue;

use crate::context::Context;
use crate::{follow, meta};
use evictor::Evictor;
use keeper::Keeper;

pub use health::Grace;
pub use zones::Pace;

pub const CONTROLLER: &str = "node-controller";
const EVICTION_CONTROLLER: &str = "taint-eviction-controller";

/// Where nodes keep the leases by which they show that they are alive.
pub const LEASE_NAMESPACE: &str = "kube-node-lease";

const WORKERS: usize = 4;

/// How nodes are judged and emptied.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub grace: Grace,
    pub pace: Pace,
    /// A zone whose evictions have stopped is looked at so often.
    pub period: Duration,
}

/// Starts the keeping of nodes.
pub async fn start(context: &Context, settings: Settings) {
    let queue = context.queue();
    let (nodes, leases, pods) = (context.nodes(), context.node_leases(), context.pods());
    let keeper = Arc::new(Keeper::new(context, settings));
    nodes.synced().await;
    leases.synced().await;
    pods.synced().await;
    context.start_workers(CONTROLLER, WORKERS, &queue, keeper);
    context.spawn_vital(CONTROLLER, follow::objects(nodes, queue.clone()));
    context.spawn_vital(CONTROLLER, follow_leases(leases, queue));
}

/// Starts the eviction of pods from tainted nodes.
pub async fn start_eviction(context: &Context) {
    let queue = context.queue();
    let (nodes, pods) = (context.nodes(), context.pods());
    let evictor = Arc::new(Evictor::new(context));
    nodes.synced().await;
    pods.synced().await;
    context.start_workers(EVICTION_CONTROLLER, WORKERS, &queue, evictor.clone());
    context.spawn_vital(EVICTION_CONTROLLER, evictor::follow_nodes(nodes, pods.clone(), queue.clone()));
    context.spawn_vital(EVICTION_CONTROLLER, evictor::follow_pods(pods, queue, evictor));
}

async fn follow_leases(leases: Informer<Lease>, queue: WorkQueue<ObjectKey>) {
    let mut changes = leases.subscribe();
    while let Some(event) = changes.next().await {
        match event {
            Event::Applied { new: lease, .. } | Event::Deleted(lease) => {
                queue.add(ObjectKey::cluster(meta::name(&lease.metadata)));
            }
            Event::Resync => {
                leases.store().values().for_each(|lease| queue.add(ObjectKey::cluster(meta::name(&lease.metadata))));
            }
        }
    }
}
