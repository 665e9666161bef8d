//! What a controller has ordered and its informer has not shown yet.
//!
//! A controller that acted on a stale view would create or delete twice. So it notes what it ordered, counts it off as
//! the informer shows it, and does not plan for an object until everything was seen. An expectation that is not met
//! within [`EXPIRY`] is given up: the order may have been lost, and planning anew is safe then.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// After this long an order counts as lost.
pub const EXPIRY: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
struct Outstanding {
    creations: usize,
    deletions: HashSet<String>,
    since: Instant,
}

/// Outstanding orders by the key of the object that ordered them.
#[derive(Debug, Default)]
pub struct Expectations {
    outstanding: Mutex<HashMap<String, Outstanding>>,
}

impl Expectations {
    /// Notes that `count` objects are about to be created for `key`.
    pub fn expect_creations(&self, key: &str, count: usize) {
        self.expect(key, count, HashSet::new());
    }

    /// Notes that the objects with these uids are about to be deleted for `key`.
    pub fn expect_deletions(&self, key: &str, uids: impl IntoIterator<Item = String>) {
        self.expect(key, 0, uids.into_iter().collect());
    }

    fn expect(&self, key: &str, creations: usize, deletions: HashSet<String>) {
        let outstanding = Outstanding { creations, deletions, since: Instant::now() };
        self.outstanding.lock().insert(key.to_owned(), outstanding);
    }

    /// Counts off creations: one that was seen, or several that were not attempted or failed.
    pub fn creations_observed(&self, key: &str, count: usize) {
        if let Some(entry) = self.outstanding.lock().get_mut(key) {
            entry.creations = entry.creations.saturating_sub(count);
        }
    }

    /// Counts off a deletion that was seen or that failed. Seeing it twice counts once.
    pub fn deletion_observed(&self, key: &str, uid: &str) {
        if let Some(entry) = self.outstanding.lock().get_mut(key) {
            entry.deletions.remove(uid);
        }
    }

    /// Whether everything that was ordered for `key` was seen, or is old enough to be given up.
    pub fn satisfied(&self, key: &str) -> bool {
        match self.outstanding.lock().get(key) {
            None => true,
            Some(entry) => (entry.creations == 0 && entry.deletions.is_empty()) || entry.since.elapsed() > EXPIRY,
        }
    }

    /// Forgets a key whose object is gone.
    pub fn forget(&self, key: &str) {
        self.outstanding.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creations_are_counted_off() {
        let expectations = Expectations::default();
        assert!(expectations.satisfied("a"));
        expectations.expect_creations("a", 2);
        assert!(!expectations.satisfied("a"));
        expectations.creations_observed("a", 1);
        assert!(!expectations.satisfied("a"));
        expectations.creations_observed("a", 5);
        assert!(expectations.satisfied("a"));
        assert!(expectations.satisfied("b"));
    }

    #[test]
    fn a_deletion_counts_once_however_often_it_is_seen() {
        let expectations = Expectations::default();
        expectations.expect_deletions("a", ["x".to_owned(), "y".to_owned()]);
        expectations.deletion_observed("a", "x");
        expectations.deletion_observed("a", "x");
        assert!(!expectations.satisfied("a"));
        expectations.deletion_observed("a", "y");
        assert!(expectations.satisfied("a"));
    }

    #[test]
    fn a_forgotten_key_waits_for_nothing() {
        let expectations = Expectations::default();
        expectations.expect_creations("a", 2);
        expectations.forget("a");
        assert!(expectations.satisfied("a"));
    }
}
