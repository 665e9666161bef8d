//! The controllers' metrics.

use std::time::Duration;

use keelson_process::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ByController {
    controller: &'static str,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ByOutcome {
    controller: &'static str,
    outcome: &'static str,
}

/// How often and how long keys were reconciled.
#[derive(Clone)]
pub struct Reconciliations {
    count: Family<ByOutcome, Counter>,
    seconds: Family<ByController, Histogram>,
}

impl Reconciliations {
    pub fn new(metrics: &Metrics) -> Self {
        let histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 14));
        Self {
            count: metrics.register("reconciliations", "Keys reconciled", Family::default()),
            seconds: metrics.register(
                "reconciliation_seconds",
                "Time to reconcile a key",
                Family::new_with_constructor(histogram as fn() -> Histogram),
            ),
        }
    }

    pub fn record(&self, controller: &'static str, time: Duration, succeeded: bool) {
        let outcome = if succeeded { "done" } else { "again" };
        self.count.get_or_create(&ByOutcome { controller, outcome }).inc();
        self.seconds.get_or_create(&ByController { controller }).observe(time.as_secs_f64());
    }
}

/// Whether this process leads: 1 or 0.
pub fn leading(metrics: &Metrics) -> Gauge {
    metrics.register("leading", "Whether this process holds the lease", Gauge::default())
}
