//! Compacts all the time, close behind the newest revision: whoever lags is overtaken.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::watch;

use super::Load;
use crate::cluster::Operator;
use crate::history::Revision;

const EVERY: Duration = Duration::from_millis(400);
/// Revisions that a compaction leaves, at most.
const LEFT: Revision = 200;

pub struct Compactor {
    pub load: Load,
    pub dice: StdRng,
    /// How far the auditor is: what it has not seen stays, for nobody else keeps the account.
    pub audited: Arc<AtomicI64>,
    /// The highest revision that the store was asked to compact at.
    pub asked: Arc<AtomicI64>,
}

impl Compactor {
    pub async fn run(mut self) {
        let mut stop: watch::Receiver<bool> = self.load.stop.clone();
        while !*stop.borrow() {
            let pause = tokio::time::sleep(EVERY);
            tokio::select! {
                () = pause => {}
                _ = stop.changed() => return,
            }
            let revision = self.audited.load(Ordering::Acquire) - self.dice.random_range(0..LEFT);
            if revision <= self.asked.load(Ordering::Acquire) {
                continue;
            }
            let place = self.dice.random_range(0..self.load.urls.len());
            if let Ok(operator) = Operator::of(&self.load.urls[place]).await {
                // Before it is asked: it may be done although nobody answers.
                self.asked.fetch_max(revision, Ordering::AcqRel);
                let _ = operator.compact(revision).await;
            }
        }
    }
}
