//! What the server counts, beside the frame's own metrics.

use std::sync::Arc;

use keelson_process::metrics::Metrics as Registry;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
};

use crate::registry::Verb;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    verb: &'static str,
    code: u16,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByVerb {
    verb: &'static str,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    requests: Family<Outcome, Counter>,
    seconds: Arc<[Histogram]>,
    /// Watches that are open.
    pub watches: Gauge,
    /// The revision of the watch cache.
    pub cache_revision: Gauge,
}

const VERBS: &[Verb] = Verb::ALL;
const SECONDS: [f64; 12] = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

impl Metrics {
    pub fn new(registry: &Registry) -> Metrics {
        let seconds: Family<ByVerb, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        let by_verb = |verb: &Verb| seconds.get_or_create(&ByVerb { verb: verb.name() }).clone();
        let histograms = VERBS.iter().map(by_verb).collect();
        registry.register("request_seconds", "Time to the answer (of a watch: to its start)", seconds);
        Metrics {
            requests: registry.register("requests", "Requests answered", Family::default()),
            seconds: histograms,
            watches: registry.register("watches", "Watches that are open", Gauge::default()),
            cache_revision: registry.register("cache_revision", "Revision of the watch cache", Gauge::default()),
        }
    }

    pub(crate) fn answered(&self, verb: Verb, code: u16, seconds: f64) {
        self.requests.get_or_create(&Outcome { verb: verb.name(), code }).inc();
        if let Some(place) = VERBS.iter().position(|known| *known == verb) {
            self.seconds[place].observe(seconds);
        }
    }
}
