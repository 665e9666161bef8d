//! The annotations that tie a Deployment to its ReplicaSets: revision, its history, and the sizes at the last scaling.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};

use super::read;
use crate::meta;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The trace context belongs to the object that it was set on.
const TRACEPARENT: &str = "keelson.dev/traceparent";

/// A revision history longer than this many characters loses its oldest entries.
const MAX_HISTORY_CHARACTERS: usize = 2000;

const NOT_COPIED: [&str; 7] =
    [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO, TRACEPARENT];

pub fn revision(set: &ReplicaSet) -> i64 {
    meta::annotation(&set.metadata, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn number(set: &ReplicaSet, key: &str) -> Option<i32> {
    meta::annotation(&set.metadata, key).and_then(|text| text.parse().ok())
}

/// The Deployment's size when this ReplicaSet was last scaled.
pub fn desired_replicas(set: &ReplicaSet) -> Option<i32> {
    number(set, DESIRED_REPLICAS)
}

/// The most pods the Deployment allowed when this ReplicaSet was last scaled.
pub fn max_replicas(set: &ReplicaSet) -> Option<i32> {
    number(set, MAX_REPLICAS)
}

/// Sets one annotation; says whether that changed anything.
fn set(annotations: &mut BTreeMap<String, String>, key: &str, value: String) -> bool {
    if annotations.get(key) == Some(&value) {
        return false;
    }
    annotations.insert(key.to_owned(), value);
    true
}

/// Records the Deployment's sizes on a ReplicaSet; says whether that changed anything.
pub fn record_sizes(deployment: &Deployment, replica_set: &mut ReplicaSet) -> bool {
    let annotations = replica_set.metadata.annotations.get_or_insert_default();
    let desired = set(annotations, DESIRED_REPLICAS, read::wanted(deployment).to_string());
    let max = set(annotations, MAX_REPLICAS, read::max_replicas(deployment).to_string());
    desired || max
}

/// Whether the sizes recorded on a ReplicaSet are no longer the Deployment's.
pub fn sizes_are_stale(deployment: &Deployment, replica_set: &ReplicaSet) -> bool {
    desired_replicas(replica_set) != Some(read::wanted(deployment))
        || max_replicas(replica_set) != Some(read::max_replicas(deployment))
}

/// Copies the Deployment's annotations to its new ReplicaSet and raises the revision there to `revision`, keeping the
/// revision that it had in the history. Says whether that changed anything.
pub fn sync(deployment: &Deployment, replica_set: &mut ReplicaSet, revision: i64) -> bool {
    let annotations = replica_set.metadata.annotations.get_or_insert_default();
    let mut changed = false;
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !NOT_COPIED.contains(&key.as_str()) {
            changed |= set(annotations, key, value.clone());
        }
    }
    let old = annotations.get(REVISION).cloned();
    let old_number = match old.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => number,
            // Somebody wrote what is no revision: leave it alone.
            Err(_) => return changed,
        },
    };
    if old_number >= revision {
        return changed;
    }
    annotations.insert(REVISION.to_owned(), revision.to_string());
    if let Some(old) = old {
        let history = annotations.get(REVISION_HISTORY).map_or("", String::as_str);
        if let Some(history) = extend_history(history, &old) {
            annotations.insert(REVISION_HISTORY.to_owned(), history);
        }
    }
    true
}

/// Appends a revision to a comma-separated history and drops the oldest entries until it fits.
fn extend_history(history: &str, revision: &str) -> Option<String> {
    if history.is_empty() {
        return Some(revision.to_owned());
    }
    let mut rest = history;
    while rest.len() + revision.len() + 1 > MAX_HISTORY_CHARACTERS {
        match rest.split_once(',') {
            Some((_, younger)) => rest = younger,
            None => return (revision.len() <= MAX_HISTORY_CHARACTERS).then(|| revision.to_owned()),
        }
    }
    Some(format!("{rest},{revision}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_bounded() {
        assert_eq!(extend_history("", "1").as_deref(), Some("1"));
        assert_eq!(extend_history("1,2", "3").as_deref(), Some("1,2,3"));
        let long: Vec<String> = (1000..1500).map(|number| number.to_string()).collect();
        let extended = extend_history(&long.join(","), "1500").unwrap_or_default();
        assert!(extended.len() <= MAX_HISTORY_CHARACTERS);
        assert!(extended.ends_with(",1499,1500"));
        assert!(!extended.starts_with("1000,"));
    }

    #[test]
    fn annotations_follow_the_deployment_but_not_its_own() {
        let mut deployment = Deployment::default();
        deployment.metadata.annotations = Some(BTreeMap::from([
            ("kubernetes.io/change-cause".to_owned(), "new image".to_owned()),
            (LAST_APPLIED.to_owned(), "{}".to_owned()),
            (TRACEPARENT.to_owned(), "00-1-2-01".to_owned()),
            (REVISION.to_owned(), "7".to_owned()),
        ]));
        let mut set = ReplicaSet::default();
        assert!(sync(&deployment, &mut set, 2));
        let expected = BTreeMap::from([
            ("kubernetes.io/change-cause".to_owned(), "new image".to_owned()),
            (REVISION.to_owned(), "2".to_owned()),
        ]);
        assert_eq!(set.metadata.annotations, Some(expected));
        assert!(!sync(&deployment, &mut set, 2));
        assert!(sync(&deployment, &mut set, 5));
        assert_eq!(meta::annotation(&set.metadata, REVISION_HISTORY), Some("2"));
        assert_eq!(revision(&set), 5);
    }
}
