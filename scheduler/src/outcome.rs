//! Telling the API server what was decided: bindings, conditions, events, victims.
//!
//! All of it runs beside the decisions, with a bound on what is under way at once.

use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::api::core::v1::{Binding, ObjectReference, Pod, PodCondition};
use keelson_client::events::EventRecorder;
use keelson_client::{Client, DeleteOptions, Error, Patch, trace};
use keelson_objects::time;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::{Instrument, Span};

use crate::cluster::PodInfo;
use crate::metrics::Counts;
use crate::preempt::Candidate;

/// Requests that are under way at once; one connection carries them all.
const CONCURRENT: usize = 128;

/// The events of the API have this limit on their text.
const MESSAGE_LIMIT: usize = 1024;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Outcomes {
    client: Client,
    recorder: EventRecorder,
    slots: Arc<Semaphore>,
    counts: Counts,
    scheduler_name: Arc<str>,
}

/// The span of one pod's scheduling, a part of its trace if it has one.
pub(crate) fn span(pod: &PodInfo) -> Span {
    let name = &pod.key;
    trace::continued(
        &pod.pod.metadata,
        || keelson_process::traced!("schedule", pod = %name, node = tracing::field::Empty),
    )
}

impl Outcomes {
    pub(crate) fn new(client: Client, recorder: EventRecorder, counts: Counts, scheduler_name: &str) -> Outcomes {
        let slots = Arc::new(Semaphore::new(CONCURRENT));
        Outcomes { client, recorder, slots, counts, scheduler_name: scheduler_name.into() }
    }

    /// Binds the pod in the background; `done` learns how it ended.
    pub(crate) fn bind<Done, Ending>(&self, pod: Arc<PodInfo>, node: String, span: Span, done: Done)
    where
        Done: FnOnce(Result<(), Error>) -> Ending + Send + 'static,
        Ending: Future<Output = ()> + Send,
    {
        let outcomes = self.clone();
        tokio::spawn(async move {
            let result = outcomes.post_binding(&pod, &node).instrument(span).await;
            match &result {
                Ok(()) => {
                    let message = format!("Successfully assigned {} to {node}", pod.key);
                    outcomes.recorder.normal(&pod.pod.reference(), "Scheduled", message);
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    let message = format!("binding rejected: {error}");
                    outcomes.recorder.warning(&pod.pod.reference(), "FailedScheduling", limited(message));
                }
            }
            done(result).await;
        });
    }

    async fn post_binding(&self, pod: &PodInfo, node: &str) -> Result<(), Error> {
        let _slot = self.slots.acquire().await;
        let started = Instant::now();
        let mut binding = Binding {
            target: ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.to_owned()),
                ..ObjectReference::default()
            },
            ..Binding::default()
        };
        binding.metadata.name = pod.pod.metadata.name.clone();
        binding.metadata.namespace = pod.pod.metadata.namespace.clone();
        binding.metadata.uid = pod.pod.metadata.uid.clone();
        let api = self.client.namespaced::<Pod>(&pod.key.namespace);
        let bound = api.create_subresource::<_, Value>(&pod.key.name, "binding", &binding).await;
        self.counts.binding.observe(started.elapsed().as_secs_f64());
        bound.map(drop)
    }

    /// Says on the pod why it has no node, and on which node room is made for it.
    pub(crate) fn unschedulable(&self, pod: Arc<PodInfo>, message: String, nominated: Option<String>) {
        let outcomes = self.clone();
        tokio::spawn(async move {
            let _slot = outcomes.slots.acquire().await;
            outcomes.recorder.warning(&pod.pod.reference(), "FailedScheduling", limited(message.clone()));
            let Some(patch) = status_patch(&pod, &message, nominated.as_deref()) else { return };
            let api = outcomes.client.namespaced::<Pod>(&pod.key.namespace);
            match api.patch_status(&pod.key.name, &Patch::Strategic(patch)).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => tracing::warn!(pod = %pod.key, %error, "cannot say on the pod why it is unschedulable"),
            }
        });
    }

    /// Deletes the victims of a preemption, each with a condition that says why.
    pub(crate) fn evict(&self, preemptor: Arc<PodInfo>, candidate: Candidate) {
        let outcomes = self.clone();
        tokio::spawn(async move {
            for victim in candidate.victims.iter().filter(|victim| !victim.is_terminating()) {
                let _slot = outcomes.slots.acquire().await;
                match outcomes.delete_victim(victim).await {
                    Ok(()) => {
                        let message = format!("Preempted by pod {} on node {}", preemptor.uid(), candidate.node);
                        outcomes.recorder.normal(&victim.pod.reference(), "Preempted", message);
                    }
                    Err(error) if error.is_not_found() => {}
                    Err(error) => tracing::warn!(victim = %victim.key, %error, "cannot preempt a pod"),
                }
            }
        });
    }

    async fn delete_victim(&self, victim: &PodInfo) -> Result<(), Error> {
        let api = self.client.namespaced::<Pod>(&victim.key.namespace);
        let condition = json!({
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": format!("{}: preempting to accommodate a higher priority pod", self.scheduler_name),
            "lastTransitionTime": time::now_seconds(),
        });
        let patch = json!({"metadata": {"uid": victim.uid()}, "status": {"conditions": [condition]}});
        api.patch_status(&victim.key.name, &Patch::Strategic(patch)).await?;
        api.delete(&victim.key.name, &DeleteOptions::of_uid(victim.uid())).await
    }
}

fn limited(mut message: String) -> String {
    if message.len() > MESSAGE_LIMIT {
        let mut end = MESSAGE_LIMIT - 4;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
        message.push_str(" ...");
    }
    message
}

/// What changes in the pod's status; `None` if it already says all that.
fn status_patch(pod: &PodInfo, message: &str, nominated: Option<&str>) -> Option<Value> {
    let status = &pod.pod.status;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let present: Option<&PodCondition> = conditions.iter().find(|condition| condition.type_ == "PodScheduled");
    let says_so = present.is_some_and(|present| {
        present.status == "False"
            && present.reason.as_deref() == Some("Unschedulable")
            && present.message.as_deref() == Some(message)
    });
    let promised = status.nominated_node_name.as_deref();
    let promises = nominated.is_none() || nominated == promised;
    if says_so && promises {
        return None;
    }
    let since = present.filter(|present| present.status == "False");
    let since = since.and_then(|present| present.last_transition_time.as_ref());
    let mut condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
        "lastProbeTime": null,
        "lastTransitionTime": since.map_or_else(time::now_seconds, |since| time::seconds(since.0)),
    });
    if let Some(generation) = pod.pod.metadata.generation {
        condition["observedGeneration"] = generation.into();
    }
    let mut patch = json!({"metadata": {"uid": pod.uid()}, "status": {"conditions": [condition]}});
    if let Some(node) = nominated {
        patch["status"]["nominatedNodeName"] = node.into();
    }
    Some(patch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn a_condition_is_written_once() {
        let fresh = pod("a", json!({}));
        let patch = status_patch(&fresh, "why", None).unwrap();
        assert_eq!(patch["status"]["conditions"][0]["reason"], "Unschedulable");
        let mut told = (*fresh.pod).clone();
        told.status = serde_json::from_value(patch["status"].clone()).unwrap();
        let told = PodInfo::new(Arc::new(told));
        assert_eq!(status_patch(&told, "why", None), None);
        let nominated = status_patch(&told, "why", Some("n")).unwrap();
        assert_eq!(nominated["status"]["nominatedNodeName"], "n");
    }

    #[test]
    fn a_message_is_cut_at_its_limit() {
        assert_eq!(limited("é".repeat(1000)).len(), MESSAGE_LIMIT);
        assert_eq!(limited("short".to_owned()), "short");
    }
}
