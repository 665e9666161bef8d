//! The order in which a namespace's content goes, and what its conditions say about what is left.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, Pod};

use crate::dynamic::ResourceType;
use crate::{meta, pods};

/// The finalizer that this controller serves.
pub const FINALIZER: &str = "kubernetes";

const DISCOVERY_FAILURE: &str = "NamespaceDeletionDiscoveryFailure";
const PARSING_FAILURE: &str = "NamespaceDeletionGroupVersionParsingFailure";
const CONTENT_FAILURE: &str = "NamespaceDeletionContentFailure";
const CONTENT_REMAINING: &str = "NamespaceContentRemaining";
const FINALIZERS_REMAINING: &str = "NamespaceFinalizersRemaining";

/// Without a grace period of its own, a pod is expected to take so long.
const DEFAULT_GRACE_SECONDS: i64 = 30;

/// Whether there is anything for this controller to do about the namespace.
pub fn is_due(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_some() && finalizers(namespace).any(|finalizer| finalizer == FINALIZER)
}

fn finalizers(namespace: &Namespace) -> impl Iterator<Item = &str> {
    namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten()).map(String::as_str)
}

/// The namespace without this controller's finalizer.
pub fn finalized(namespace: &Namespace) -> Namespace {
    let mut namespace = namespace.clone();
    if let Some(finalizers) = namespace.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
        finalizers.retain(|finalizer| finalizer != FINALIZER);
    }
    namespace
}

/// The kinds to delete, in two rounds: pods, and, once they are gone, all else. So nothing that a pod needs while it
/// ends, or that protects it (a NetworkPolicy, say), goes before it.
pub fn rounds(types: Vec<ResourceType>) -> [Vec<ResourceType>; 2] {
    let deletable = types.into_iter().filter(|one| one.namespaced && one.supports("delete") && one.supports("list"));
    let (first, second) = deletable.partition(|one| one.group.is_empty() && one.resource == "pods");
    [first, second]
}

/// What one pass over the content found and met.
#[derive(Debug, Default)]
pub struct Pass {
    pub discovery_failure: Option<String>,
    pub content_failures: Vec<String>,
    /// How many objects of each kind are left.
    pub remaining: BTreeMap<String, usize>,
    /// On how many of them each finalizer is.
    pub finalizers: BTreeMap<String, usize>,
    /// The longest that a leaving pod may take.
    pub patience: Duration,
}

impl Pass {
    /// Takes note of objects that are left. `metadata` is that of each.
    pub fn note<'a>(
        &mut self,
        kind: &ResourceType,
        metadata: impl IntoIterator<Item = &'a k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta>,
    ) {
        for metadata in metadata {
            *self.remaining.entry(kind.qualified_name()).or_default() += 1;
            for finalizer in metadata.finalizers.iter().flatten() {
                *self.finalizers.entry(finalizer.clone()).or_default() += 1;
            }
        }
    }

    /// Takes note of how long the pods may take that are left.
    pub fn note_pods<'a>(&mut self, left: impl IntoIterator<Item = &'a Pod>) {
        for pod in left {
            if pods::is_finished(pod) {
                continue;
            }
            let of_spec = pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
            let grace = pod.metadata.deletion_grace_period_seconds.or(of_spec).unwrap_or(DEFAULT_GRACE_SECONDS);
            let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
            self.patience = self.patience.max(grace);
        }
    }

    pub fn is_done(&self) -> bool {
        self.discovery_failure.is_none() && self.content_failures.is_empty() && self.remaining.is_empty()
    }

    /// What went wrong, in words.
    pub fn problem(&self) -> String {
        let failures = self.discovery_failure.iter().chain(&self.content_failures);
        failures.map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Whether only time is missing: nothing failed, some objects are on their way out.
    pub fn waits(&self) -> bool {
        self.discovery_failure.is_none() && self.content_failures.is_empty() && !self.remaining.is_empty()
    }

    /// The namespace's conditions after the pass, if they say anything new. A condition that is well stays absent until
    /// it was once unwell, save the three that a healthy deletion reports.
    pub fn conditions(&self, namespace: &Namespace, now: Timestamp) -> Option<Vec<NamespaceCondition>> {
        let before = namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let mut conditions = before.clone();
        let discovery = self.discovery_failure.clone().map(|message| ("DiscoveryFailed", message));
        let content = (!self.content_failures.is_empty()).then(|| {
            (
                "ContentDeletionFailed",
                format!(
                    "Failed to delete all resource types, {} remaining: {}",
                    self.content_failures.len(),
                    self.content_failures.join(", ")
                ),
            )
        });
        let remaining = (!self.remaining.is_empty()).then(|| ("SomeResourcesRemain", self.describe_remaining()));
        let finalizers = (!self.finalizers.is_empty()).then(|| ("SomeFinalizersRemain", self.describe_finalizers()));
        let judged = [
            (DISCOVERY_FAILURE, discovery, "ResourcesDiscovered", "All resources successfully discovered"),
            (PARSING_FAILURE, None, "ParsedGroupVersions", "All legacy kube types successfully parsed"),
            (
                CONTENT_FAILURE,
                content,
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            (CONTENT_REMAINING, remaining, "ContentRemoved", "All content successfully removed"),
            (FINALIZERS_REMAINING, finalizers, "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ];
        for (kind, problem, well_reason, well_message) in judged {
            let (status, reason, message) = match problem {
                Some((reason, message)) => ("True", reason, message),
                None => ("False", well_reason, well_message.to_owned()),
            };
            set(&mut conditions, kind, status, reason, message, now);
        }
        (conditions != before).then_some(conditions)
    }

    fn describe_remaining(&self) -> String {
        let mut text = String::from("Some resources are remaining: ");
        for (index, (kind, count)) in self.remaining.iter().enumerate() {
            let _ = write!(text, "{}{kind} has {count} resource instances", if index > 0 { ", " } else { "" });
        }
        text
    }

    fn describe_finalizers(&self) -> String {
        let mut text = String::from("Some content in the namespace has finalizers remaining: ");
        for (index, (finalizer, count)) in self.finalizers.iter().enumerate() {
            let _ = write!(text, "{}{finalizer} in {count} resource instances", if index > 0 { ", " } else { "" });
        }
        text
    }
}

fn set(
    conditions: &mut Vec<NamespaceCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let fresh = NamespaceCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(meta::time(now)),
    };
    let Some(present) = conditions.iter_mut().find(|one| one.type_ == kind) else {
        conditions.push(fresh);
        return;
    };
    if present.status != fresh.status || present.reason != fresh.reason || present.message != fresh.message {
        let transition = if present.status == fresh.status {
            present.last_transition_time.clone()
        } else {
            fresh.last_transition_time.clone()
        };
        *present = NamespaceCondition { last_transition_time: transition, ..fresh };
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{NamespaceSpec, NamespaceStatus, PodSpec};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_700_000_000).expect("a time within range")
    }

    fn kind(group: &str, resource: &str, namespaced: bool, verbs: &[&str]) -> ResourceType {
        ResourceType {
            group: group.into(),
            version: "v1".into(),
            resource: resource.into(),
            kind: resource.into(),
            namespaced,
            verbs: verbs.iter().map(|verb| (*verb).to_owned()).collect(),
        }
    }

    fn namespace(leaving: bool, finalizers: &[&str]) -> Namespace {
        let mut namespace = Namespace::default();
        namespace.metadata.deletion_timestamp = leaving.then(|| meta::time(now()));
        let finalizers = finalizers.iter().map(|finalizer| (*finalizer).to_owned()).collect();
        namespace.spec = Some(NamespaceSpec { finalizers: Some(finalizers) });
        namespace
    }

    #[test]
    fn only_a_leaving_namespace_with_our_finalizer_is_due() {
        let cases = [
            (true, vec![FINALIZER], true),
            (true, vec!["other", FINALIZER], true),
            (true, vec!["other"], false),
            (false, vec![FINALIZER], false),
        ];
        for (leaving, finalizers, expected) in cases {
            assert_eq!(is_due(&namespace(leaving, &finalizers)), expected, "{leaving} {finalizers:?}");
        }
        let left = finalized(&namespace(true, &["other", FINALIZER]));
        assert_eq!(left.spec.and_then(|spec| spec.finalizers), Some(vec!["other".to_owned()]));
    }

    #[test]
    fn pods_go_first() {
        let all = ["delete", "list", "deletecollection"];
        let types = vec![
            kind("", "configmaps", true, &all),
            kind("", "nodes", false, &all),
            kind("", "pods", true, &all),
            kind("example.com", "pods", true, &all),
            kind("", "bindings", true, &["create"]),
        ];
        let [first, second] = rounds(types);
        let names = |types: Vec<ResourceType>| types.iter().map(ResourceType::qualified_name).collect::<Vec<_>>();
        assert_eq!(names(first), ["pods"]);
        assert_eq!(names(second), ["configmaps", "pods.example.com"]);
    }

    #[test]
    fn conditions_tell_what_is_left() {
        let mut pass = Pass::default();
        let held = ObjectMeta { finalizers: Some(vec!["example.com/held".into()]), ..Default::default() };
        pass.note(&kind("", "pods", true, &[]), [&ObjectMeta::default(), &held]);
        assert!(pass.waits() && !pass.is_done());
        let conditions = pass.conditions(&namespace(true, &[FINALIZER]), now()).expect("conditions");
        let told: Vec<(&str, &str, &str)> = conditions
            .iter()
            .map(|one| (one.type_.as_str(), one.status.as_str(), one.message.as_deref().unwrap_or_default()))
            .collect();
        assert_eq!(
            told[3..],
            [
                (CONTENT_REMAINING, "True", "Some resources are remaining: pods has 2 resource instances"),
                (
                    FINALIZERS_REMAINING,
                    "True",
                    "Some content in the namespace has finalizers remaining: example.com/held in 1 resource instances",
                ),
            ]
        );
        assert_eq!(told[0].1, "False");
        // Saying the same again is no news; that all is gone is.
        let mut leaving = namespace(true, &[FINALIZER]);
        leaving.status = Some(NamespaceStatus { conditions: Some(conditions), ..Default::default() });
        assert_eq!(pass.conditions(&leaving, now()), None);
        let done = Pass::default();
        assert!(done.is_done());
        assert!(done.conditions(&leaving, now()).is_some());
    }

    #[test]
    fn patience_is_the_longest_grace() {
        let pod = |grace: Option<i64>| Pod {
            spec: Some(PodSpec { termination_grace_period_seconds: grace, ..Default::default() }),
            ..Default::default()
        };
        let mut pass = Pass::default();
        pass.note_pods([&pod(Some(5)), &pod(Some(60))]);
        assert_eq!(pass.patience, Duration::from_secs(60));
        let mut pass = Pass::default();
        pass.note_pods([&pod(None)]);
        assert_eq!(pass.patience, Duration::from_secs(30));
    }
}
