//! The garbage collector: what has lost its owners goes, what leaves takes its dependents along or lets them go first.
//!
//! It watches the metadata of every kind that is served, keeps the graph of owners and dependents, and looks at what a
//! change may concern. Whether an owner is absent is asked of the API server itself before anything is deleted, and
//! nothing is deleted that is not, in uid and version, what was judged.

mod collect;
mod decide;
mod graph;
mod identity;
mod monitors;

use std::sync::Arc;

use keelson_client::workqueue::WorkQueue;

use crate::context::Context;
use collect::Collector;
use monitors::Monitors;

pub const CONTROLLER: &str = "garbage-collector-controller";

/// Starts the collector with so many workers.
pub async fn start(context: &Context, workers: usize) {
    let queue = WorkQueue::new();
    let collector = Arc::new(Collector::new(context, queue.clone()));
    let mut monitors = Monitors::new(context, collector.clone());
    // Judging on half a graph would take owners that were not seen yet for absent, and cost a live read each.
    monitors.follow_served_kinds().await;
    collector.examine_everything();
    context.start_workers(CONTROLLER, workers, &queue, collector);
    context.spawn_vital(CONTROLLER, monitors.keep_up());
}
