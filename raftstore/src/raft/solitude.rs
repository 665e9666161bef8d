//! Whether a write has the member to itself.
//!
//! Then nobody is kept waiting by a thread that waits for the disk, and the write is spared two wake-ups of other threads,
//! which cost as much as the disk does. With other members, entries go to them while this member's own disk is at work;
//! with other requests, they are served meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[derive(Default)]
pub struct Solitude {
    /// This member is known to be the only one of its cluster.
    is_only_member: AtomicBool,
    /// Requests that are under way.
    present: AtomicUsize,
}

/// One request, for as long as it is under way.
pub struct Presence(Arc<Solitude>);

impl Solitude {
    pub fn enter(self: &Arc<Self>) -> Presence {
        self.present.fetch_add(1, Ordering::Relaxed);
        Presence(self.clone())
    }

    pub fn set_only_member(&self, is_only_member: bool) {
        self.is_only_member.store(is_only_member, Ordering::Relaxed);
    }

    /// Of the moment: who comes next may wait.
    pub fn holds(&self) -> bool {
        self.is_only_member.load(Ordering::Relaxed) && self.present.load(Ordering::Relaxed) <= 1
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_request_of_an_only_member_is_alone() {
        let solitude = Arc::new(Solitude::default());
        let first = solitude.enter();
        assert!(!solitude.holds(), "it is not known yet whether there are others");
        solitude.set_only_member(true);
        assert!(solitude.holds());
        let second = solitude.enter();
        assert!(!solitude.holds());
        drop(first);
        assert!(solitude.holds());
        solitude.set_only_member(false);
        assert!(!solitude.holds());
        drop(second);
    }
}
