//! The process' metrics, in Prometheus' text form.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};

/// The registry that `/metrics` shows. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Every metric of the process is named `keelson_<component>_<name>`.
    pub fn new(component: &str) -> Self {
        let registry = Registry::with_prefix(format!("keelson_{}", component.replace('-', "_")));
        Self { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Registers a metric and hands it back, so that it can be made and kept in one line.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registry.lock().register(name, help, metric.clone());
        metric
    }

    /// The metrics as text (OpenMetrics 1.0).
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock()).expect("writing to a string does not fail");
        text
    }
}
