//! Numbers read out of Deployments and ReplicaSets: how many are wanted, there, ready, available, and how far a
//! rolling update may stray from the wanted count.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Percentages and counts may not make both limits zero, or a rollout could never move.
const DEFAULT_REPLICAS: i32 = 1;

pub fn spec(deployment: &Deployment) -> Option<&DeploymentSpec> {
    deployment.spec.as_ref()
}

pub fn wanted(deployment: &Deployment) -> i32 {
    spec(deployment).and_then(|spec| spec.replicas).unwrap_or(DEFAULT_REPLICAS)
}

pub fn is_paused(deployment: &Deployment) -> bool {
    spec(deployment).and_then(|spec| spec.paused).unwrap_or(false)
}

pub fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = spec(deployment).and_then(|spec| spec.strategy.as_ref());
    strategy.is_none_or(|strategy| strategy.type_.as_deref() != Some("Recreate"))
}

/// The progress deadline in seconds; the largest value means that there is none.
pub fn progress_deadline(deployment: &Deployment) -> Option<i32> {
    spec(deployment).and_then(|spec| spec.progress_deadline_seconds).filter(|seconds| *seconds != i32::MAX)
}

/// How many old ReplicaSets are kept; the largest value means all.
pub fn history_limit(deployment: &Deployment) -> Option<usize> {
    spec(deployment)
        .and_then(|spec| spec.revision_history_limit)
        .filter(|limit| *limit != i32::MAX)
        .map(|limit| usize::try_from(limit).unwrap_or(0))
}

/// The surge and the unavailability that the strategy allows, resolved against the wanted count: surge rounds up,
/// unavailability rounds down, and if both come out as zero one pod may be unavailable.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    let rolling =
        spec(deployment).and_then(|spec| spec.strategy.as_ref()).and_then(|strategy| strategy.rolling_update.as_ref());
    let total = wanted(deployment);
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    let surge = surge.map_or(0, |value| resolve(value, total, Rounding::Up));
    let unavailable = unavailable.map_or(0, |value| resolve(value, total, Rounding::Down));
    if surge == 0 && unavailable == 0 {
        return (0, 1);
    }
    (surge, unavailable)
}

#[derive(Clone, Copy)]
enum Rounding {
    Up,
    Down,
}

/// A count, or a percentage of `total`. What cannot be read as either counts as zero; validation keeps it out.
fn resolve(value: &IntOrString, total: i32, rounding: Rounding) -> i32 {
    match value {
        IntOrString::Int(count) => *count,
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok());
            let scaled = percent.unwrap_or(0) * i64::from(total);
            let rounded = match rounding {
                Rounding::Up => (scaled + 99).div_euclid(100),
                Rounding::Down => scaled.div_euclid(100),
            };
            i32::try_from(rounded).unwrap_or(i32::MAX)
        }
    }
}

pub fn max_surge(deployment: &Deployment) -> i32 {
    if is_rolling(deployment) { fenceposts(deployment).0 } else { 0 }
}

pub fn max_unavailable(deployment: &Deployment) -> i32 {
    let total = wanted(deployment);
    if !is_rolling(deployment) || total == 0 {
        return 0;
    }
    fenceposts(deployment).1.min(total)
}

/// The most pods that may exist at once, as recorded on each ReplicaSet.
pub fn max_replicas(deployment: &Deployment) -> i32 {
    wanted(deployment).saturating_add(max_surge(deployment))
}

pub fn set_wanted(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(DEFAULT_REPLICAS)
}

fn set_status(set: &ReplicaSet) -> Option<&ReplicaSetStatus> {
    set.status.as_ref()
}

pub fn set_actual(set: &ReplicaSet) -> i32 {
    set_status(set).map_or(0, |status| status.replicas)
}

pub fn set_ready(set: &ReplicaSet) -> i32 {
    set_status(set).and_then(|status| status.ready_replicas).unwrap_or(0)
}

pub fn set_available(set: &ReplicaSet) -> i32 {
    set_status(set).and_then(|status| status.available_replicas).unwrap_or(0)
}

pub fn set_terminating(set: &ReplicaSet) -> Option<i32> {
    set_status(set).and_then(|status| status.terminating_replicas)
}

pub fn set_observed(set: &ReplicaSet) -> i64 {
    set_status(set).and_then(|status| status.observed_generation).unwrap_or(0)
}

/// Sums one number over ReplicaSets.
pub fn total<'a>(sets: impl IntoIterator<Item = &'a Arc<ReplicaSet>>, number: fn(&ReplicaSet) -> i32) -> i32 {
    sets.into_iter().map(|set| number(set)).sum()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::deployment;
    use super::*;

    fn int(value: i32) -> IntOrString {
        IntOrString::Int(value)
    }

    fn percent(text: &str) -> IntOrString {
        IntOrString::String(text.to_owned())
    }

    #[test]
    fn limits_of_a_rolling_update() {
        // wanted, surge, unavailable -> surge, unavailable
        let cases = [
            (10, percent("25%"), percent("25%"), 3, 2),
            (3, percent("25%"), percent("25%"), 1, 0),
            (1, percent("25%"), percent("25%"), 1, 0),
            (4, int(0), percent("10%"), 0, 1),
            (0, int(1), int(1), 1, 0),
            (2, int(0), int(5), 0, 2),
            (10, percent("100%"), int(0), 10, 0),
        ];
        for (wanted, surge, unavailable, expected_surge, expected_unavailable) in cases {
            let deployment = deployment(wanted, surge.clone(), unavailable.clone());
            assert_eq!(max_surge(&deployment), expected_surge, "{wanted} {surge:?}");
            assert_eq!(max_unavailable(&deployment), expected_unavailable, "{wanted} {unavailable:?}");
        }
    }
}
