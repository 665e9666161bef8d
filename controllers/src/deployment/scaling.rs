//! Scaling a Deployment outside of a rollout: one ReplicaSet takes the whole change, several share it in proportion.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ReplicaSet;

use super::annotations;
use super::read;
use super::rollout::{Rollout, age_order, largest_newer_first, largest_older_first};

/// Whether the Deployment was resized since its ReplicaSets were last scaled.
pub fn is_due(rollout: &Rollout<'_>) -> bool {
    let wanted = read::wanted(rollout.deployment);
    active(rollout).iter().filter_map(|set| annotations::desired_replicas(set)).any(|desired| desired != wanted)
}

fn active(rollout: &Rollout<'_>) -> Vec<Arc<ReplicaSet>> {
    let has_size = |set: &&Arc<ReplicaSet>| read::set_wanted(set) > 0;
    rollout.all().filter(has_size).cloned().collect()
}

/// Plans the sizes.
pub fn plan(rollout: &mut Rollout<'_>) {
    let wanted = read::wanted(rollout.deployment);
    if let Some(only) = active_or_latest(rollout) {
        if read::set_wanted(&only) != wanted {
            rollout.scale(&only, wanted);
        }
        return;
    }
    if is_saturated(rollout) {
        for old in rollout.old.clone() {
            if read::set_wanted(&old) > 0 {
                rollout.scale(&old, 0);
            }
        }
        return;
    }
    if read::is_rolling(rollout.deployment) {
        proportionally(rollout);
    }
}

/// The ReplicaSet that stands for the whole Deployment: the only one with a size, or else the newest.
fn active_or_latest(rollout: &Rollout<'_>) -> Option<Arc<ReplicaSet>> {
    let mut active = active(rollout);
    match active.len() {
        0 => {
            let newest_old = || rollout.old.iter().max_by(|a, b| age_order(a, b));
            rollout.new.as_ref().or_else(newest_old).cloned()
        }
        1 => active.pop(),
        _ => None,
    }
}

/// Whether the new ReplicaSet alone satisfies the Deployment.
fn is_saturated(rollout: &Rollout<'_>) -> bool {
    let Some(new) = rollout.new.as_ref() else {
        return false;
    };
    let wanted = read::wanted(rollout.deployment);
    read::set_wanted(new) == wanted
        && annotations::desired_replicas(new) == Some(wanted)
        && read::set_available(new) == wanted
}

/// Shares the change among the ReplicaSets by their sizes; what rounding leaves over goes to the largest.
fn proportionally(rollout: &mut Rollout<'_>) {
    let mut sets = active(rollout);
    let present = read::total(&sets, read::set_wanted);
    let allowed = match read::wanted(rollout.deployment) {
        0 => 0,
        _ => read::max_replicas(rollout.deployment),
    };
    let change = allowed - present;
    match change {
        1.. => sets.sort_by(|a, b| largest_newer_first(a, b)),
        ..=-1 => sets.sort_by(|a, b| largest_older_first(a, b)),
        0 => {}
    }
    let mut given = 0;
    let mut sizes = Vec::with_capacity(sets.len());
    for set in &sets {
        let share = share_of(set, rollout, change, given);
        given += share;
        sizes.push(read::set_wanted(set) + share);
    }
    if let Some(largest) = sizes.first_mut() {
        *largest = (*largest + change - given).max(0);
    }
    for (set, size) in sets.iter().zip(sizes) {
        rollout.scale(set, size);
    }
}

/// One ReplicaSet's share of `change`, of which `given` is already given out.
fn share_of(set: &ReplicaSet, rollout: &Rollout<'_>, change: i32, given: i32) -> i32 {
    if read::set_wanted(set) == 0 || change == given {
        return 0;
    }
    let fraction = fraction_of(set, rollout);
    let rest = change - given;
    if change > 0 { fraction.min(rest) } else { fraction.max(rest) }
}

/// What a ReplicaSet would gain or lose if it kept its part of the whole.
fn fraction_of(set: &ReplicaSet, rollout: &Rollout<'_>) -> i32 {
    let size = read::set_wanted(set);
    if read::wanted(rollout.deployment) == 0 {
        return -size;
    }
    let status = rollout.deployment.status.as_ref();
    let observed = || status.and_then(|status| status.replicas);
    let Some(whole_before) =
        annotations::max_replicas(set).filter(|count| *count != 0).or_else(observed).filter(|count| *count != 0)
    else {
        return 0;
    };
    let whole = f64::from(read::max_replicas(rollout.deployment));
    let scaled = (f64::from(size) * whole / f64::from(whole_before)).round();
    // Sizes are small counts: the rounded value is exact, and `as` saturates beyond them.
    (scaled as i32).saturating_sub(size)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    use super::super::fixtures::{deployment, set};
    use super::*;

    /// (size before, surge, size after, sizes of old and new ReplicaSet before) -> sizes after
    type Case = (i32, i32, i32, [i32; 2], [i32; 2]);

    #[test]
    fn sizes_after_scaling() {
        let cases: [Case; 6] = [
            // Only one has a size: it takes everything.
            (10, 0, 20, [0, 10], [0, 20]),
            (10, 0, 20, [10, 0], [20, 0]),
            // A rollout stands in between: in proportion.
            (10, 0, 20, [5, 5], [10, 10]),
            (10, 0, 5, [8, 2], [4, 1]),
            (10, 5, 20, [10, 5], [17, 8]),
            (10, 0, 0, [5, 5], [0, 0]),
        ];
        for (before, surge, after, sizes, expected) in cases {
            let earlier = deployment(before, IntOrString::Int(surge), IntOrString::Int(1));
            let sets =
                [set(&earlier, "nginx:1", 1, 100, sizes[0], sizes[0]), set(&earlier, "nginx:2", 2, 50, sizes[1], 0)];
            let later = deployment(after, IntOrString::Int(surge), IntOrString::Int(1));
            let mut rollout = Rollout::new(&later, &sets);
            assert!(is_due(&rollout));
            plan(&mut rollout);
            let planned =
                [read::set_wanted(&rollout.old[0]), read::set_wanted(rollout.new.as_ref().expect("a new set"))];
            assert_eq!(planned, expected, "{before}+{surge} -> {after}, {sizes:?}");
        }
    }

    #[test]
    fn a_saturated_new_set_ends_the_old_ones() {
        let deployment = deployment(3, IntOrString::Int(1), IntOrString::Int(0));
        let sets = [set(&deployment, "nginx:1", 1, 100, 1, 1), set(&deployment, "nginx:2", 2, 50, 3, 3)];
        let mut rollout = Rollout::new(&deployment, &sets);
        assert!(!is_due(&rollout));
        plan(&mut rollout);
        assert_eq!(read::total(&rollout.old, read::set_wanted), 0);
    }
}
