//! The Deployment controller: declarative updates of pods, by way of one ReplicaSet for each template.

mod annotations;
mod claim;
#[cfg(test)]
mod fixtures;
mod plan;
mod pump;
mod read;
mod reconcile;
mod rollout;
mod scaling;
mod status;
mod strategies;
mod template;

use std::sync::Arc;

use crate::context::Context;
use reconcile::Deployments;

pub const CONTROLLER: &str = "deployment-controller";

/// Starts the controller with so many workers.
pub async fn start(context: &Context, workers: usize) {
    let queue = context.queue();
    let (deployments, sets, pods) = (context.deployments(), context.replica_sets(), context.pods());
    let controller = Arc::new(Deployments::new(context));
    // Nothing is planned on half a view: the first keys are worked on when all caches are complete.
    deployments.synced().await;
    sets.synced().await;
    pods.synced().await;
    context.start_workers(CONTROLLER, workers, &queue, controller);
    context.spawn_vital(CONTROLLER, pump::follow_deployments(deployments.clone(), queue.clone()));
    context.spawn_vital(CONTROLLER, pump::follow_sets(sets.clone(), deployments.clone(), queue.clone()));
    context.spawn_vital(CONTROLLER, pump::follow_pods(pods, sets, deployments, queue));
}
