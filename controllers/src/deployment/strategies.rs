//! The two strategies: replace pods gradually within surge and unavailability, or end all old ones first.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;

use super::read;
use super::rollout::Rollout;
use crate::{meta, pods};

/// The pods of each ReplicaSet, by the ReplicaSet's uid.
pub type PodsBySet = BTreeMap<String, Vec<Arc<Pod>>>;

/// Whether a strategy changed sizes in this step. If it did, the next step waits for what comes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    Moved,
    Settled,
}

/// One step of a rolling update: grow the new ReplicaSet if there is room, or else shrink the old ones.
pub fn rolling_update(rollout: &mut Rollout<'_>) -> Progress {
    rollout.create_new();
    if resize_new(rollout) || shrink_old(rollout) {
        return Progress::Moved;
    }
    Progress::Settled
}

fn resize_new(rollout: &mut Rollout<'_>) -> bool {
    let Some(new) = rollout.new.clone() else {
        return false;
    };
    let wanted = read::wanted(rollout.deployment);
    let present = read::set_wanted(&new);
    if present == wanted {
        return false;
    }
    let size = if present > wanted { wanted } else { rollout.size_for_new(present) };
    rollout.scale(&new, size)
}

/// Takes from the old ReplicaSets what can go without falling below the pods that must be available: unhealthy pods
/// first, since they serve nobody.
fn shrink_old(rollout: &mut Rollout<'_>) -> bool {
    if read::total(&rollout.old, read::set_wanted) == 0 {
        return false;
    }
    let must_be_available = read::wanted(rollout.deployment) - read::max_unavailable(rollout.deployment);
    let existing = read::total(rollout.all(), read::set_wanted);
    let new_unavailable = rollout.new.as_ref().map_or(0, |new| read::set_wanted(new) - read::set_available(new));
    let may_go = existing - must_be_available - new_unavailable;
    if may_go <= 0 {
        return false;
    }
    let cleaned = shrink_unhealthy(rollout, may_go);
    let available = read::total(rollout.all(), read::set_available);
    let healthy = shrink_each(rollout, available - must_be_available, read::set_wanted);
    cleaned + healthy > 0
}

fn shrink_unhealthy(rollout: &mut Rollout<'_>, limit: i32) -> i32 {
    shrink_each(rollout, limit, |set| read::set_wanted(set) - read::set_available(set))
}

/// Shrinks the old ReplicaSets, oldest first, each by at most `by(set)`, all together by at most `limit`.
fn shrink_each(rollout: &mut Rollout<'_>, limit: i32, by: fn(&ReplicaSet) -> i32) -> i32 {
    let mut gone = 0;
    for set in rollout.old.clone() {
        let step = by(&set).min(limit - gone);
        if step <= 0 {
            continue;
        }
        rollout.scale(&set, read::set_wanted(&set) - step);
        gone += step;
    }
    gone
}

/// One step of Recreate: end all old pods, wait until none of them runs, then start the new ones.
pub fn recreate(rollout: &mut Rollout<'_>, pods: &PodsBySet) -> Progress {
    let mut shrunk = false;
    for old in rollout.old.clone() {
        if read::set_wanted(&old) > 0 {
            shrunk |= rollout.scale(&old, 0);
        }
    }
    if shrunk || old_pods_run(rollout, pods) {
        return Progress::Moved;
    }
    rollout.create_new();
    if let Some(new) = rollout.new.clone() {
        rollout.scale(&new, read::wanted(rollout.deployment));
    }
    Progress::Settled
}

fn old_pods_run(rollout: &Rollout<'_>, pods: &PodsBySet) -> bool {
    if read::total(&rollout.old, read::set_actual) > 0 {
        return true;
    }
    let new_uid = rollout.new.as_ref().map(|new| meta::uid(&new.metadata));
    pods.iter()
        .filter(|(uid, _)| Some(uid.as_str()) != new_uid)
        .any(|(_, pods)| pods.iter().any(|pod| !pods::is_finished(pod)))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    use super::super::fixtures::{self, deployment, set};
    use super::*;

    #[test]
    fn steps_of_a_rolling_update() {
        // wanted, surge, unavailable, (old size, available), (new size, available) -> old size, new size, moved
        let cases = [
            // Room for surge: the new one grows first.
            (10, 3, 2, (10, 10), (0, 0), 10, 3, true),
            // No room: the old one shrinks as far as availability allows.
            (10, 3, 2, (10, 10), (3, 0), 8, 3, true),
            // Fewer than must be available: wait.
            (10, 3, 2, (8, 8), (5, 0), 8, 5, false),
            // New pods became available: old ones may go.
            (10, 3, 2, (8, 8), (5, 5), 3, 5, true),
            // Unhealthy old pods go although too few are available.
            (10, 0, 2, (10, 7), (0, 0), 8, 0, true),
            // Without surge, the freed place is filled.
            (10, 0, 2, (8, 8), (0, 0), 8, 2, true),
            // Done.
            (10, 3, 2, (0, 0), (10, 10), 0, 10, false),
            // Scaled down meanwhile: the new one shrinks to what is wanted.
            (3, 1, 0, (0, 0), (5, 5), 0, 3, true),
        ];
        for (wanted, surge, unavailable, old, new, expected_old, expected_new, moved) in cases {
            let deployment = deployment(wanted, IntOrString::Int(surge), IntOrString::Int(unavailable));
            let sets =
                [set(&deployment, "nginx:1", 1, 100, old.0, old.1), set(&deployment, "nginx:2", 2, 50, new.0, new.1)];
            let mut rollout = Rollout::new(&deployment, &sets);
            let progress = rolling_update(&mut rollout);
            let sizes = (read::set_wanted(&rollout.old[0]), read::set_wanted(rollout.new.as_ref().expect("a new set")));
            assert_eq!(sizes, (expected_old, expected_new), "{wanted} {surge} {unavailable} {old:?} {new:?}");
            assert_eq!(progress == Progress::Moved, moved, "{wanted} {surge} {unavailable} {old:?} {new:?}");
        }
    }

    #[test]
    fn a_new_template_makes_a_set_as_large_as_the_surge() {
        let deployment = deployment(10, IntOrString::Int(3), IntOrString::Int(2));
        let sets = [set(&deployment, "nginx:1", 1, 100, 10, 10)];
        let mut rollout = Rollout::new(&deployment, &sets);
        rolling_update(&mut rollout);
        let new = rollout.new.as_ref().expect("a new set");
        assert_eq!(read::set_wanted(new), 3);
        assert_eq!(rollout.revision.as_deref(), Some("2"));
    }

    #[test]
    fn recreate_waits_for_the_last_old_pod() {
        let deployment = fixtures::recreate(2);
        let old = set(&deployment, "nginx:1", 1, 100, 2, 2);
        let mut rollout = Rollout::new(&deployment, std::slice::from_ref(&old));
        assert_eq!(recreate(&mut rollout, &PodsBySet::new()), Progress::Moved);
        assert_eq!(read::set_wanted(&rollout.old[0]), 0);
        assert!(rollout.new.is_none());

        let ended = set(&deployment, "nginx:1", 1, 100, 0, 0);
        let still_running = PodsBySet::from([("set-1".to_owned(), vec![Arc::new(Pod::default())])]);
        let mut rollout = Rollout::new(&deployment, std::slice::from_ref(&ended));
        assert_eq!(recreate(&mut rollout, &still_running), Progress::Moved);
        assert!(rollout.new.is_none());

        let mut rollout = Rollout::new(&deployment, std::slice::from_ref(&ended));
        recreate(&mut rollout, &PodsBySet::new());
        assert_eq!(rollout.new.as_deref().map(read::set_wanted), Some(2));
    }
}
