//! Pods that wait for a node: ready to be tried, backing off, or waiting for something to change.
//!
//! Pure: the time is passed in. Pods with a higher priority are tried first, of equals the one that waits longer. A pod
//! that fits nowhere is left alone until an event may help it, at most five minutes; then it backs off for a time that
//! doubles with its attempts (1 s to 10 s) — unless nothing else is to be tried, for then it need not wait.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use keelson_client::ObjectKey;
use tokio::time::Instant;

use crate::cluster::PodInfo;
use crate::filters::Plugin;

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// An unschedulable pod is tried again after this long whatever happened.
const FLUSH_AFTER: Duration = Duration::from_secs(300);

/// Where a pod waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Until the time; after an error the wait is kept in any case.
    Backoff {
        until: Instant,
        after_error: bool,
    },
    /// Since the time.
    Unschedulable {
        since: Instant,
    },
    /// It was handed out.
    Trying,
    /// Scheduling gates hold it (KEP-3521).
    Gated,
}

struct Waiting {
    pod: Arc<PodInfo>,
    place: Place,
    /// The order among equals of a priority.
    number: u64,
    attempts: u32,
    failed: BTreeSet<Plugin>,
}

type ActiveKey = (Reverse<i32>, u64, ObjectKey);

#[derive(Default)]
pub struct Queue {
    pods: HashMap<ObjectKey, Waiting>,
    active: BTreeSet<ActiveKey>,
    backoff: BTreeSet<(Instant, ObjectKey)>,
    next_number: u64,
}

/// How many pods wait where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

fn is_gated(pod: &PodInfo) -> bool {
    pod.spec().scheduling_gates.as_ref().is_some_and(|gates| !gates.is_empty())
}

fn backoff(attempts: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(MAX_BACKOFF)
}

impl Queue {
    /// A pod that is new or has changed. What changed may make it schedulable: it is tried again.
    pub fn set(&mut self, pod: Arc<PodInfo>) {
        let key = pod.key.clone();
        match self.pods.get_mut(&key) {
            Some(waiting) if waiting.pod.uid() == pod.uid() => {
                let place = waiting.place;
                let reordered = waiting.pod.priority != pod.priority;
                let changed = decides_otherwise(&waiting.pod, &pod);
                if place == Place::Active && reordered {
                    self.active.remove(&active_key(waiting));
                }
                waiting.pod = pod;
                match place {
                    Place::Active if reordered => {
                        self.active.insert(active_key(waiting));
                    }
                    Place::Gated if !is_gated(&waiting.pod) => self.activate(&key),
                    Place::Unschedulable { .. } if changed => self.activate(&key),
                    _ => {}
                }
            }
            _ => {
                self.remove(&key);
                let gated = is_gated(&pod);
                let number = self.next_number;
                self.next_number += 1;
                let waiting = Waiting { pod, place: Place::Gated, number, attempts: 0, failed: BTreeSet::new() };
                self.pods.insert(key.clone(), waiting);
                if !gated {
                    self.activate(&key);
                }
            }
        }
    }

    /// The pod waits no longer: it is gone, bound, or assumed somewhere.
    pub fn remove(&mut self, key: &ObjectKey) {
        let Some(waiting) = self.pods.remove(key) else { return };
        match waiting.place {
            Place::Active => {
                self.active.remove(&active_key(&waiting));
            }
            Place::Backoff { until, .. } => {
                self.backoff.remove(&(until, key.clone()));
            }
            _ => {}
        }
    }

    pub fn get(&self, key: &ObjectKey) -> Option<&Arc<PodInfo>> {
        self.pods.get(key).map(|waiting| &waiting.pod)
    }

    /// The next pod to try, with the number of this attempt.
    pub fn pop(&mut self, now: Instant) -> Option<(Arc<PodInfo>, u32)> {
        self.move_due(now);
        let key = match self.active.pop_first() {
            Some((_, _, key)) => key,
            None => self.early()?,
        };
        let waiting = self.pods.get_mut(&key)?;
        waiting.place = Place::Trying;
        waiting.attempts += 1;
        Some((waiting.pod.clone(), waiting.attempts))
    }

    /// With nothing else to do, a pod that an event released need not sit out its back-off.
    fn early(&mut self) -> Option<ObjectKey> {
        let pods = &self.pods;
        let entry = self.backoff.iter().find(|(_, key)| {
            let place = pods.get(key).map(|waiting| waiting.place);
            matches!(place, Some(Place::Backoff { after_error: false, .. }))
        })?;
        let entry = entry.clone();
        self.backoff.remove(&entry);
        Some(entry.1)
    }

    /// The attempt found no node; these plugins rejected it.
    pub fn unschedulable(&mut self, key: &ObjectKey, failed: BTreeSet<Plugin>, now: Instant) {
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.place = Place::Unschedulable { since: now };
            waiting.failed = failed;
        }
    }

    /// The attempt failed for a reason that is not the cluster's state: it is tried again after a while.
    pub fn failed(&mut self, pod: Arc<PodInfo>, attempts: u32, now: Instant) {
        let key = pod.key.clone();
        self.set(pod);
        if let Some(waiting) = self.pods.get_mut(&key) {
            if waiting.place == Place::Active {
                self.active.remove(&active_key(waiting));
            }
            waiting.attempts = waiting.attempts.max(attempts);
            let until = now + backoff(waiting.attempts);
            waiting.place = Place::Backoff { until, after_error: true };
            self.backoff.insert((until, key));
        }
    }

    /// Releases the unschedulable pods that something may help: `helps(pod, plugins that rejected it)`.
    pub fn release(&mut self, now: Instant, helps: impl Fn(&PodInfo, &BTreeSet<Plugin>) -> bool) {
        let keys: Vec<ObjectKey> = self
            .pods
            .iter()
            .filter(|(_, waiting)| matches!(waiting.place, Place::Unschedulable { .. }))
            .filter(|(_, waiting)| helps(&waiting.pod, &waiting.failed))
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            self.wake(&key, now);
        }
    }

    /// Moves what has backed off long enough.
    pub fn move_due(&mut self, now: Instant) {
        while let Some((until, key)) = self.backoff.first().cloned() {
            if until > now {
                break;
            }
            self.backoff.pop_first();
            self.activate(&key);
        }
    }

    /// Moves what nothing has helped for too long. Looks at all that wait: for now and then.
    pub fn flush(&mut self, now: Instant) {
        let due: Vec<ObjectKey> = self
            .pods
            .iter()
            .filter(
                |(_, waiting)| matches!(waiting.place, Place::Unschedulable { since } if since + FLUSH_AFTER <= now),
            )
            .map(|(key, _)| key.clone())
            .collect();
        for key in due {
            self.wake(&key, now);
        }
    }

    /// When a back-off ends next.
    pub fn next_due(&self) -> Option<Instant> {
        self.backoff.first().map(|(until, _)| *until)
    }

    pub fn depth(&self) -> Depth {
        let mut depth = Depth::default();
        for waiting in self.pods.values() {
            match waiting.place {
                Place::Active | Place::Trying => depth.active += 1,
                Place::Backoff { .. } => depth.backoff += 1,
                Place::Unschedulable { .. } => depth.unschedulable += 1,
                Place::Gated => depth.gated += 1,
            }
        }
        depth
    }

    /// From unschedulable to active, by way of the back-off that its last attempt began.
    fn wake(&mut self, key: &ObjectKey, now: Instant) {
        let Some(waiting) = self.pods.get_mut(key) else { return };
        let Place::Unschedulable { since } = waiting.place else { return };
        let until = since + backoff(waiting.attempts);
        if until <= now {
            return self.activate(key);
        }
        waiting.place = Place::Backoff { until, after_error: false };
        self.backoff.insert((until, key.clone()));
    }

    fn activate(&mut self, key: &ObjectKey) {
        if let Some(waiting) = self.pods.get_mut(key) {
            waiting.place = Place::Active;
            self.active.insert(active_key(waiting));
        }
    }
}

fn active_key(waiting: &Waiting) -> ActiveKey {
    (Reverse(waiting.pod.priority), waiting.number, waiting.pod.key.clone())
}

/// Whether an update of an unscheduled pod can make it fit: its status and annotations cannot.
fn decides_otherwise(old: &PodInfo, new: &PodInfo) -> bool {
    old.labels() != new.labels()
        || old.requests != new.requests
        || old.spec().tolerations != new.spec().tolerations
        || old.spec().node_selector != new.spec().node_selector
        || old.spec().affinity != new.spec().affinity
        || old.spec().scheduling_gates != new.spec().scheduling_gates
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;
    use serde_json::json;

    fn names(queue: &mut Queue, now: Instant) -> Vec<String> {
        std::iter::from_fn(|| queue.pop(now)).map(|(pod, _)| pod.key.name.to_string()).collect()
    }

    #[test]
    fn priority_comes_before_age() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.set(pod("old", json!({})));
        queue.set(pod("young", json!({})));
        queue.set(pod("urgent", json!({"priority": 10})));
        assert_eq!(names(&mut queue, now), ["urgent", "old", "young"]);
    }

    #[test]
    fn an_unschedulable_pod_waits_for_help() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.set(pod("a", json!({})));
        let (a, attempts) = queue.pop(now).unwrap();
        assert_eq!(attempts, 1);
        queue.unschedulable(&a.key, BTreeSet::from([Plugin::NodeResourcesFit]), now);
        queue.release(now, |_, failed| failed.contains(&Plugin::NodePorts));
        assert!(queue.pop(now).is_none(), "what does not help does not wake");
        queue.set(pod("a", json!({})));
        assert!(queue.pop(now).is_none(), "a change that decides nothing does not wake");
        queue.set(pod("b", json!({})));
        queue.release(now, |_, failed| failed.contains(&Plugin::NodeResourcesFit));
        assert_eq!(names(&mut queue, now), ["b", "a"], "the back-off counts while others are to be tried");
    }

    #[test]
    fn an_error_is_waited_out() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.set(pod("a", json!({})));
        let (a, attempts) = queue.pop(now).unwrap();
        queue.failed(a, attempts, now);
        assert!(queue.pop(now).is_none());
        assert!(queue.pop(now + FIRST_BACKOFF).is_some());
        assert_eq!(backoff(100), MAX_BACKOFF);
    }

    #[test]
    fn after_five_minutes_it_is_tried_whatever_happened() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.set(pod("a", json!({})));
        let (a, _) = queue.pop(now).unwrap();
        queue.unschedulable(&a.key, BTreeSet::new(), now);
        queue.flush(now + Duration::from_secs(299));
        assert!(queue.pop(now + Duration::from_secs(299)).is_none());
        queue.flush(now + FLUSH_AFTER);
        assert!(queue.pop(now + FLUSH_AFTER).is_some());
    }

    #[test]
    fn gates_hold_until_the_last_is_gone() {
        let mut queue = Queue::default();
        let now = Instant::now();
        queue.set(pod("a", json!({"schedulingGates": [{"name": "x"}]})));
        assert!(queue.pop(now).is_none());
        assert_eq!(queue.depth().gated, 1);
        queue.set(pod("a", json!({})));
        assert!(queue.pop(now).is_some());
    }
}
