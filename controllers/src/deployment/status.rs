//! A Deployment's status: counts and the conditions Available, Progressing and ReplicaFailure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetCondition};

use super::read;
use super::rollout::Rollout;
use crate::meta;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const REPLICA_FAILURE: &str = "ReplicaFailure";

const NEW_SET_CREATED: &str = "NewReplicaSetCreated";
const NEW_SET_FOUND: &str = "FoundNewReplicaSet";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const SET_UPDATED: &str = "ReplicaSetUpdated";
const SET_CREATE_ERROR: &str = "ReplicaSetCreateError";
const DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

pub fn condition<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.as_ref()?.iter().find(|one| one.type_ == kind)
}

fn progressing(status: &DeploymentStatus) -> Option<&DeploymentCondition> {
    condition(status, PROGRESSING)
}

fn has_reason(condition: Option<&DeploymentCondition>, reason: &str) -> bool {
    condition.is_some_and(|condition| condition.reason.as_deref() == Some(reason))
}

fn make(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_update_time: Some(meta::time(now)),
        last_transition_time: Some(meta::time(now)),
    }
}

/// Sets a condition. One that says the same already stays as it is; one that keeps its status keeps its transition time.
fn set(status: &mut DeploymentStatus, mut condition: DeploymentCondition) {
    let conditions = status.conditions.get_or_insert_default();
    if let Some(present) = conditions.iter().find(|one| one.type_ == condition.type_)
        && present.status == condition.status
    {
        if present.reason == condition.reason {
            return;
        }
        condition.last_transition_time = present.last_transition_time.clone();
    }
    conditions.retain(|one| one.type_ != condition.type_);
    conditions.push(condition);
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = status.conditions.as_mut() {
        conditions.retain(|one| one.type_ != kind);
    }
}

/// Notes on `status` that the Deployment was paused or resumed, so that its progress clock stands still meanwhile.
pub fn note_pause(deployment: &Deployment, status: &mut DeploymentStatus, now: Timestamp) {
    if read::progress_deadline(deployment).is_none() || has_reason(progressing(status), DEADLINE_EXCEEDED) {
        return;
    }
    let noted = has_reason(progressing(status), PAUSED);
    let (reason, message) = match (read::is_paused(deployment), noted) {
        (true, false) => (PAUSED, "Deployment is paused"),
        (false, true) => (RESUMED, "Deployment is resumed"),
        _ => return,
    };
    set(status, make(PROGRESSING, "Unknown", reason, message.to_owned(), now));
}

/// Notes on `status` where the new ReplicaSet came from: this plan makes it, or it was found.
pub fn note_new_set(rollout: &Rollout<'_>, status: &mut DeploymentStatus, now: Timestamp) {
    let Some(new) = rollout.new.as_ref() else {
        return;
    };
    if read::progress_deadline(rollout.deployment).is_none() {
        return;
    }
    let name = meta::name(&new.metadata);
    if rollout.created {
        let message = format!("Created new replica set {name:?}");
        set(status, make(PROGRESSING, "True", NEW_SET_CREATED, message, now));
    } else if progressing(status).is_none() {
        let message = format!("Found new replica set {name:?}");
        set(status, make(PROGRESSING, "True", NEW_SET_FOUND, message, now));
    }
}

/// The status of a Deployment whose new ReplicaSet could not be made.
pub fn create_failed(deployment: &Deployment, message: String, now: Timestamp) -> DeploymentStatus {
    let mut status = deployment.status.clone().unwrap_or_default();
    if read::progress_deadline(deployment).is_some() {
        set(&mut status, make(PROGRESSING, "False", SET_CREATE_ERROR, message, now));
    }
    status
}

/// The status by the ReplicaSets as they are, conditions carried over from `before` and Available judged anew.
pub fn counts(rollout: &Rollout<'_>, before: &DeploymentStatus, now: Timestamp) -> DeploymentStatus {
    let deployment = rollout.deployment;
    let available = read::total(rollout.all(), read::set_available);
    let sizes = read::total(rollout.all(), read::set_wanted);
    let terminating = rollout.all().map(|set| read::set_terminating(set)).sum::<Option<i32>>();
    let mut status = DeploymentStatus {
        observed_generation: Some(meta::generation(&deployment.metadata)),
        replicas: present(read::total(rollout.all(), read::set_actual)),
        updated_replicas: present(read::total(&rollout.new, read::set_actual)),
        ready_replicas: present(read::total(rollout.all(), read::set_ready)),
        available_replicas: present(available),
        unavailable_replicas: present((sizes - available).max(0)),
        terminating_replicas: terminating.filter(|_| rollout.all().next().is_some()),
        collision_count: before.collision_count,
        conditions: before.conditions.clone(),
    };
    let enough = read::wanted(deployment) - read::max_unavailable(deployment);
    let (value, reason, message) = if available >= enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(&mut status, make(AVAILABLE, value, reason, message.to_owned(), now));
    status
}

/// Zero counts are absent, as the API writes them.
fn present(count: i32) -> Option<i32> {
    Some(count).filter(|count| *count != 0)
}

/// Whether everything wanted is new, there and available.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = read::wanted(deployment);
    status.updated_replicas.unwrap_or(0) == wanted
        && status.replicas.unwrap_or(0) == wanted
        && status.available_replicas.unwrap_or(0) == wanted
        && status.observed_generation.unwrap_or(0) >= meta::generation(&deployment.metadata)
}

/// The status during and after a rollout: `counts`, and how the rollout progresses.
pub fn rollout(rollout: &Rollout<'_>, before: &DeploymentStatus, now: Timestamp) -> DeploymentStatus {
    let deployment = rollout.deployment;
    let mut status = counts(rollout, before, now);
    let current = progressing(before).cloned();
    let rests = status.replicas == status.updated_replicas && has_reason(current.as_ref(), NEW_SET_AVAILABLE);
    if read::progress_deadline(deployment).is_none() {
        remove(&mut status, PROGRESSING);
    } else if !rests {
        judge_progress(rollout, before, current, &mut status, now);
    }
    remove(&mut status, REPLICA_FAILURE);
    if let Some(failure) = replica_failure(rollout) {
        set_failure(&mut status, before, failure);
    }
    status
}

fn judge_progress(
    rollout: &Rollout<'_>,
    before: &DeploymentStatus,
    current: Option<DeploymentCondition>,
    status: &mut DeploymentStatus,
    now: Timestamp,
) {
    let deployment = rollout.deployment;
    let subject = match rollout.new.as_ref() {
        Some(new) => format!("ReplicaSet {:?}", meta::name(&new.metadata)),
        None => format!("Deployment {:?}", meta::name(&deployment.metadata)),
    };
    if is_complete(deployment, status) {
        let message = format!("{subject} has successfully progressed.");
        set(status, make(PROGRESSING, "True", NEW_SET_AVAILABLE, message, now));
    } else if has_progressed(before, status) {
        let message = format!("{subject} is progressing.");
        let mut condition = make(PROGRESSING, "True", SET_UPDATED, message, now);
        // Each bit of progress restarts the clock: the condition is made anew even if it says the same.
        if let Some(current) = current.filter(|current| current.status == "True") {
            condition.last_transition_time = current.last_transition_time;
        }
        remove(status, PROGRESSING);
        set(status, condition);
    } else if has_timed_out(deployment, before, now) {
        let message = format!("{subject} has timed out progressing.");
        set(status, make(PROGRESSING, "False", DEADLINE_EXCEEDED, message, now));
    }
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = |value: Option<i32>| value.unwrap_or(0);
    let old_pods = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || old_pods(after) < old_pods(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

fn deadline(deployment: &Deployment, condition: &DeploymentCondition) -> Option<Timestamp> {
    let seconds = read::progress_deadline(deployment)?;
    let since = condition.last_update_time.as_ref()?.0;
    since.checked_add(SignedDuration::from_secs(seconds.into())).ok()
}

fn has_timed_out(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> bool {
    match progressing(status) {
        None => false,
        Some(condition) if has_reason(Some(condition), NEW_SET_AVAILABLE) => false,
        Some(condition) if has_reason(Some(condition), DEADLINE_EXCEEDED) => true,
        Some(condition) => deadline(deployment, condition).is_some_and(|deadline| deadline < now),
    }
}

/// When to look again at a rollout that may stop progressing, if nothing else happens.
pub fn look_again(deployment: &Deployment, status: &DeploymentStatus, now: Timestamp) -> Option<Duration> {
    let condition = progressing(status)?;
    if is_complete(deployment, status) || has_reason(Some(condition), DEADLINE_EXCEEDED) {
        return None;
    }
    let rest = deadline(deployment, condition)?.duration_since(now);
    // One second more than the rest: times in objects have no fractions.
    let rest = Duration::try_from(rest).unwrap_or(Duration::ZERO);
    Some(rest + Duration::from_secs(1))
}

fn replica_failure(rollout: &Rollout<'_>) -> Option<ReplicaSetCondition> {
    fn failure(set: &ReplicaSet) -> Option<&ReplicaSetCondition> {
        let conditions = set.status.as_ref()?.conditions.as_ref()?;
        conditions.iter().find(|one| one.type_ == REPLICA_FAILURE)
    }
    let new = rollout.new.as_deref().and_then(failure);
    new.or_else(|| rollout.all().find_map(|set| failure(set))).cloned()
}

fn set_failure(status: &mut DeploymentStatus, before: &DeploymentStatus, failure: ReplicaSetCondition) {
    let condition = DeploymentCondition {
        type_: failure.type_,
        status: failure.status,
        reason: failure.reason,
        message: failure.message,
        last_update_time: failure.last_transition_time.clone(),
        last_transition_time: failure.last_transition_time,
    };
    let unchanged = condition_like(before, &condition);
    let conditions = status.conditions.get_or_insert_default();
    conditions.push(unchanged.unwrap_or(condition));
}

fn condition_like(before: &DeploymentStatus, wanted: &DeploymentCondition) -> Option<DeploymentCondition> {
    condition(before, &wanted.type_)
        .filter(|present| present.status == wanted.status && present.reason == wanted.reason)
        .cloned()
}
