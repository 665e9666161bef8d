//! What to do next about one Deployment, decided from what was observed and nothing else.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use super::rollout::{Rollout, Step};
use super::strategies::{self, PodsBySet, Progress};
use super::{annotations, read, scaling, status};
use crate::meta;

/// The steps towards the Deployment's spec that can be taken now, and the status that follows from them.
#[derive(Debug, Default)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// The status to write after the steps; absent when nothing changes.
    pub status: Option<DeploymentStatus>,
    /// The revision annotation to write with the status; absent when nothing changes.
    pub revision: Option<String>,
    /// When to plan again even if nothing is observed.
    pub look_again: Option<Duration>,
    /// The selector is empty, so the Deployment would claim every pod: nothing is done but telling so.
    pub selects_everything: bool,
}

/// Plans one Deployment. `sets` are the ReplicaSets that it controls, `pods` the pods of each: only Recreate reads them.
pub fn plan(deployment: &Deployment, sets: &[Arc<ReplicaSet>], pods: &PodsBySet, now: Timestamp) -> Plan {
    let observed = deployment.status.clone().unwrap_or_default();
    if read::spec(deployment).is_none_or(|spec| meta::selects_everything(&spec.selector)) {
        return refuse(deployment, observed);
    }
    let mut rollout = Rollout::new(deployment, sets);
    let mut noted = observed.clone();
    rollout.sync_revision();
    let decided = if deployment.metadata.deletion_timestamp.is_some() {
        status::counts(&rollout, &noted, now)
    } else {
        status::note_pause(deployment, &mut noted, now);
        decide(&mut rollout, &observed, noted, pods, now)
    };
    let looked = deployment.metadata.deletion_timestamp.is_none() && !read::is_paused(deployment);
    let look_again = looked.then(|| status::look_again(deployment, &decided, now)).flatten();
    let noted_revision = meta::annotation(&deployment.metadata, annotations::REVISION);
    Plan {
        revision: rollout.revision.take().filter(|revision| Some(revision.as_str()) != noted_revision),
        steps: rollout.steps,
        status: (decided != observed).then_some(decided),
        look_again,
        selects_everything: false,
    }
}

fn decide(
    rollout: &mut Rollout<'_>,
    observed: &DeploymentStatus,
    mut noted: DeploymentStatus,
    pods: &PodsBySet,
    now: Timestamp,
) -> DeploymentStatus {
    let paused = read::is_paused(rollout.deployment);
    if paused || scaling::is_due(rollout) {
        scaling::plan(rollout);
        if paused {
            clean_history(rollout);
        }
        status::note_new_set(rollout, &mut noted, now);
        return status::counts(rollout, &noted, now);
    }
    let progress = if read::is_rolling(rollout.deployment) {
        strategies::rolling_update(rollout)
    } else {
        strategies::recreate(rollout, pods)
    };
    if progress == Progress::Settled && status::is_complete(rollout.deployment, observed) {
        clean_history(rollout);
    }
    status::note_new_set(rollout, &mut noted, now);
    status::rollout(rollout, &noted, now)
}

fn refuse(deployment: &Deployment, observed: DeploymentStatus) -> Plan {
    let generation = meta::generation(&deployment.metadata);
    let seen = observed.observed_generation.unwrap_or(0) >= generation;
    let status = DeploymentStatus { observed_generation: Some(generation), ..observed };
    Plan { status: (!seen).then_some(status), selects_everything: true, ..Plan::default() }
}

/// Drops the oldest revisions that the history has no room for. One that still has pods, or whose controller has not
/// caught up with it, stays for now.
fn clean_history(rollout: &mut Rollout<'_>) {
    let Some(limit) = read::history_limit(rollout.deployment) else {
        return;
    };
    let mut alive: Vec<_> =
        rollout.old.iter().filter(|set| set.metadata.deletion_timestamp.is_none()).cloned().collect();
    let surplus = alive.len().saturating_sub(limit);
    alive.sort_by_key(|set| annotations::revision(set));
    for set in alive.into_iter().take(surplus) {
        let has_pods = read::set_actual(&set) != 0 || read::set_wanted(&set) != 0;
        let unobserved = meta::generation(&set.metadata) > read::set_observed(&set);
        if !has_pods && !unobserved {
            rollout.steps.push(Step::Delete(set));
        }
    }
}

/// The words of the event that a step is recorded with once it is done.
pub fn event_message(step: &Step) -> Option<String> {
    let (set, from, to) = match step {
        Step::Create(set) => (set, 0, read::set_wanted(set)),
        Step::Change { observed, decided } => (decided, read::set_wanted(observed), read::set_wanted(decided)),
        Step::Delete(_) => return None,
    };
    let direction = match from.cmp(&to) {
        std::cmp::Ordering::Less => "up",
        std::cmp::Ordering::Greater => "down",
        std::cmp::Ordering::Equal => return None,
    };
    let name = meta::name(&set.metadata);
    Some(format!("Scaled {direction} replica set {name} from {from} to {to}"))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
