//! The ReplicaSet controller: as many pods as a ReplicaSet asks for.

#[cfg(test)]
mod fixtures;
mod plan;
mod pump;
mod rank;
mod reconcile;

use std::sync::Arc;

use crate::context::Context;
use reconcile::ReplicaSets;

pub const CONTROLLER: &str = "replicaset-controller";

/// Starts the controller with so many workers.
pub async fn start(context: &Context, workers: usize) {
    let queue = context.queue();
    let (sets, pods) = (context.replica_sets(), context.pods());
    let controller = Arc::new(ReplicaSets::new(context));
    // Nothing is planned on half a view: the first keys are worked on when both caches are complete.
    sets.synced().await;
    pods.synced().await;
    context.start_workers(CONTROLLER, workers, &queue, controller.clone());
    context.spawn_vital(CONTROLLER, pump::follow_sets(sets.clone(), queue.clone(), controller.clone()));
    context.spawn_vital(CONTROLLER, pump::follow_pods(pods, sets, queue, controller));
}
