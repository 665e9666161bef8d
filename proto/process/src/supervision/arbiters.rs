//! The threads on which roles run.
//!
//! A few arbiters are shared by all roles of a process. One on which a role blocks the thread is taken out of service and
//! replaced, since nothing else can free the roles that share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix::{Arbiter, ArbiterHandle, System};
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::metrics::Metrics;

/// Threads for roles. Roles wait far more than they compute.
const ARBITERS: usize = 2;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RestartLabels {
    pub role: String,
    pub cause: &'static str,
}

/// The process' arbiters. Cheap to clone.
#[derive(Clone)]
pub struct Arbiters {
    system: System,
    handles: Arc<RwLock<Vec<ArbiterHandle>>>,
    next: Arc<AtomicUsize>,
    pub(super) restarts: Family<RestartLabels, Counter>,
}

impl Arbiters {
    /// Starts the threads; called on a thread of an actix system.
    pub(crate) fn start(metrics: &Metrics) -> Self {
        let restarts = metrics.register(
            "role_restarts",
            "Restarts of supervised roles by cause: panic, error or stuck",
            Family::<RestartLabels, Counter>::default(),
        );
        let handles = (0..ARBITERS).map(|_| Arbiter::new().handle()).collect();
        Self { system: System::current(), handles: Arc::new(RwLock::new(handles)), next: Arc::default(), restarts }
    }

    /// The next arbiter in turn, by its place.
    pub(super) fn pick(&self) -> (usize, ArbiterHandle) {
        let place = self.next.fetch_add(1, Ordering::Relaxed) % ARBITERS;
        (place, self.handles.read()[place].clone())
    }

    /// Puts a fresh thread in the place of one that does not answer. Only the first report of a handle replaces it.
    pub(super) fn replace(&self, place: usize) {
        System::set_current(self.system.clone());
        let fresh = Arbiter::new().handle();
        let old = std::mem::replace(&mut self.handles.write()[place], fresh);
        // It ends when what blocks it ends.
        old.stop();
    }
}
