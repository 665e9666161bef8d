//! Exponential back-off as Kubernetes counts it: each failure doubles the wait, and a long quiet time forgets it.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// First wait, longest wait. The quiet time that resets the wait is twice the longest wait.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    pub initial: SignedDuration,
    pub maximum: SignedDuration,
}

/// Restarts of a failed container.
pub const CRASH_LOOP: Policy =
    Policy { initial: SignedDuration::from_secs(10), maximum: SignedDuration::from_secs(300) };

/// Pulls of an image that could not be pulled.
pub const IMAGE_PULL: Policy =
    Policy { initial: SignedDuration::from_secs(10), maximum: SignedDuration::from_secs(300) };

/// Mounts of a volume whose source is missing, as upstream's volume manager repeats them.
pub const VOLUMES: Policy =
    Policy { initial: SignedDuration::from_millis(500), maximum: SignedDuration::from_secs(122) };

/// Everything else of a pod that failed and is tried again.
pub const SYNC: Policy = Policy { initial: SignedDuration::from_secs(1), maximum: SignedDuration::from_secs(10) };

/// The wait in force, and the failure that set it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    pub delay: SignedDuration,
    pub since: Timestamp,
}

impl Backoff {
    /// The wait after one more failure at `failed_at`.
    pub fn after_failure(previous: Option<Backoff>, failed_at: Timestamp, policy: Policy) -> Backoff {
        let delay = match previous {
            Some(previous) if failed_at.duration_since(previous.since) <= policy.maximum * 2 => {
                (previous.delay * 2).min(policy.maximum)
            }
            _ => policy.initial,
        };
        Backoff { delay, since: failed_at }
    }

    /// When the wait that began at `since` is over.
    pub fn until(&self) -> Timestamp {
        later(self.since, self.delay)
    }
}

/// `instant + wait`, held at the end of representable time.
pub fn later(instant: Timestamp, wait: SignedDuration) -> Timestamp {
    instant.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// A duration in Go's notation, which upstream's messages use: `10s`, `1m20s`, `5m0s`.
pub fn go_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a small number of seconds is a timestamp")
    }

    #[test]
    fn the_wait_doubles_up_to_the_maximum_and_is_forgotten_after_a_quiet_time() {
        let mut backoff = None;
        let mut delays = Vec::new();
        let mut instant = 0;
        for _ in 0..7 {
            let next = Backoff::after_failure(backoff, at(instant), CRASH_LOOP);
            delays.push(next.delay.as_secs());
            instant += next.delay.as_secs() + 1;
            backoff = Some(next);
        }
        assert_eq!(delays, [10, 20, 40, 80, 160, 300, 300]);
        let last = backoff.expect("seven failures leave a back-off");
        let kept = Backoff::after_failure(Some(last), later(last.since, SignedDuration::from_secs(600)), CRASH_LOOP);
        assert_eq!(kept.delay.as_secs(), 300);
        let forgotten =
            Backoff::after_failure(Some(last), later(last.since, SignedDuration::from_secs(601)), CRASH_LOOP);
        assert_eq!(forgotten.delay.as_secs(), 10);
    }
}
