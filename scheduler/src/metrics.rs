//! What the scheduler counts.

use keelson_process::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::queue::Depth;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: &'static str,
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Counts {
    attempts: Family<ResultLabel, Counter>,
    pending: Family<QueueLabel, Gauge>,
    pub deciding: Histogram,
    pub binding: Histogram,
}

impl Counts {
    pub(crate) fn new(metrics: &Metrics) -> Counts {
        let seconds = || Histogram::new(exponential_buckets(0.000_1, 2.0, 16));
        Counts {
            attempts: metrics.register("schedule_attempts", "Attempts to schedule a pod by result", Family::default()),
            pending: metrics.register("pending_pods", "Pods that wait by queue", Family::default()),
            deciding: metrics.register("deciding_seconds", "Time to choose a node for a pod", seconds()),
            binding: metrics.register("binding_seconds", "Time to bind a pod to its node", seconds()),
        }
    }

    pub(crate) fn attempt(&self, result: &'static str) {
        self.attempts.get_or_create(&ResultLabel { result }).inc();
    }

    pub(crate) fn depth(&self, depth: Depth) {
        let queues = [
            ("active", depth.active),
            ("backoff", depth.backoff),
            ("unschedulable", depth.unschedulable),
            ("gated", depth.gated),
        ];
        for (queue, pods) in queues {
            self.pending.get_or_create(&QueueLabel { queue }).set(i64::try_from(pods).unwrap_or(i64::MAX));
        }
    }
}
