//! The terms of a supervision.

use std::time::Duration;

/// What happens when a role fails too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escalation {
    /// The process ends non-zero and says why: whoever watches the process starts it anew.
    StopProcess,
    /// This role ends, its inbox closes, and its owner sees that. For one of many equals (a pod, a connection).
    StopRole,
}

/// Terms of one supervision. [`Spec::new`] gives defaults that suit most.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    /// Mails that wait at most; senders wait when it is full.
    pub mailbox_capacity: usize,
    /// A mail that takes longer than this shows a stuck role.
    pub stuck_after: Duration,
    /// More restarts than this within [`Spec::restart_window`] escalate.
    pub max_restarts: u32,
    pub restart_window: Duration,
    /// The wait before the first restart; it doubles up to [`Spec::max_backoff`] and starts over after a window without failure.
    pub initial_backoff: Duration,
    pub max_backoff: Duration,
    pub escalation: Escalation,
}

impl Spec {
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mailbox_capacity: 1024,
            stuck_after: Duration::from_secs(120),
            max_restarts: 10,
            restart_window: Duration::from_secs(60),
            initial_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(10),
            escalation: Escalation::StopProcess,
        }
    }

    pub fn mailbox_capacity(mut self, mails: usize) -> Self {
        self.mailbox_capacity = mails;
        self
    }

    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.stuck_after = time;
        self
    }

    pub fn max_restarts(mut self, restarts: u32, within: Duration) -> Self {
        self.max_restarts = restarts;
        self.restart_window = within;
        self
    }

    pub fn backoff(mut self, initial: Duration, max: Duration) -> Self {
        self.initial_backoff = initial;
        self.max_backoff = max;
        self
    }

    pub fn escalation(mut self, escalation: Escalation) -> Self {
        self.escalation = escalation;
        self
    }
}
