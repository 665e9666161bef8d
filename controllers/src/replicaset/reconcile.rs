//! One round for one ReplicaSet: claim its pods, carry out the plan, report.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_client::events::EventRecorder;
use keelson_client::informer::{Informer, index};
use keelson_client::{Client, DeleteOptions, ObjectKey, Patch, reference, trace};
use keelson_process::traced;
use tracing::Instrument;

use super::CONTROLLER;
use super::plan::{self, Change};
use super::rank::{self, Colocated};
use crate::context::{Context, ORPHANS};
use crate::expectations::Expectations;
use crate::ownership::{self, Claim, Claimant};
use crate::workers::{Error, Reconciler};
use crate::{meta, patching, pods};

/// Requests for one ReplicaSet that are under way at once.
const CONCURRENCY: usize = 32;

pub struct ReplicaSets {
    client: Client,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    events: EventRecorder,
    expectations: Expectations,
}

impl ReplicaSets {
    pub fn new(context: &Context) -> Self {
        Self {
            client: context.client.clone(),
            sets: context.replica_sets(),
            pods: context.pods(),
            events: context.events(CONTROLLER),
            expectations: Expectations::default(),
        }
    }

    pub fn pod_appeared(&self, set: &ObjectKey) {
        self.expectations.creations_observed(&set.to_string(), 1);
    }

    pub fn pod_left(&self, set: &ObjectKey, uid: &str) {
        self.expectations.deletion_observed(&set.to_string(), uid);
    }

    pub fn forget(&self, set: &ObjectKey) {
        self.expectations.forget(&set.to_string());
    }

    /// The pods that the ReplicaSet controls, after adopting what fits and releasing what no longer does.
    async fn claim(&self, set: &Arc<ReplicaSet>) -> Result<Vec<Arc<Pod>>, Error> {
        let Some(spec) = set.spec.as_ref() else {
            return Ok(Vec::new());
        };
        let claimant =
            Claimant { meta: &set.metadata, api_version: "apps/v1", kind: "ReplicaSet", selector: &spec.selector };
        let namespace = meta::namespace(&set.metadata);
        let snapshot = self.pods.store();
        let owned = snapshot.by_index(index::OWNER, meta::uid(&set.metadata));
        let free = snapshot.by_index(ORPHANS, namespace);
        let api = self.client.namespaced::<Pod>(namespace);
        let mut claimed = Vec::new();
        let mut may_adopt = None;
        for pod in owned.chain(free) {
            match ownership::judge(claimant, &pod.metadata) {
                Claim::Keep => claimed.push(pod.clone()),
                Claim::Ignore => {}
                Claim::Adopt if pods::is_finished(pod) => {}
                Claim::Adopt => {
                    if may_adopt.is_none() {
                        may_adopt = Some(self.may_adopt(set).await?);
                    }
                    if may_adopt == Some(true) {
                        let patch = Patch::Strategic(ownership::adopt_patch(claimant, &pod.metadata));
                        claimed.push(Arc::new(api.patch(meta::name(&pod.metadata), &patch).await?));
                    }
                }
                Claim::Release => {
                    let patch = Patch::Strategic(ownership::release_patch(claimant, &pod.metadata));
                    match api.patch(meta::name(&pod.metadata), &patch).await {
                        Err(error) if error.is_not_found() || error.is_invalid() => {}
                        outcome => drop(outcome?),
                    }
                }
            }
        }
        Ok(claimed)
    }

    /// Asks the API server itself, so that one that is being deleted, or was replaced, adopts nothing.
    async fn may_adopt(&self, set: &ReplicaSet) -> Result<bool, Error> {
        let api = self.client.namespaced::<ReplicaSet>(meta::namespace(&set.metadata));
        let live = api.find(meta::name(&set.metadata)).await?;
        Ok(live.is_some_and(|live| live.metadata.uid == set.metadata.uid && live.metadata.deletion_timestamp.is_none()))
    }

    /// The pods of the whole workload: of all ReplicaSets with the same controller.
    fn colocated(&self, set: &ReplicaSet) -> Colocated {
        let snapshot = self.pods.store();
        let pods_of = |uid: &str| snapshot.by_index(index::OWNER, uid).cloned().collect::<Vec<_>>();
        match meta::controller_of(&set.metadata) {
            None => rank::colocated(&pods_of(meta::uid(&set.metadata))),
            Some(owner) => {
                let siblings = self.sets.by_index(index::OWNER, &owner.uid);
                let related: Vec<_> = siblings.iter().flat_map(|one| pods_of(meta::uid(&one.metadata))).collect();
                rank::colocated(&related)
            }
        }
    }

    /// Carries out a change. The answer is the first failure, if there was one that is worth telling.
    async fn carry_out(&self, key: &str, set: &Arc<ReplicaSet>, change: Change) -> Result<(), keelson_client::Error> {
        match change {
            Change::Create(count) => {
                let span =
                    trace::continued(&set.metadata, || traced!("replicaset create pods", replicaset = key, count));
                self.create(key, set, count).instrument(span).await
            }
            Change::Delete(pods) => {
                let count = pods.len();
                let span =
                    trace::continued(&set.metadata, || traced!("replicaset delete pods", replicaset = key, count));
                self.delete(key, set, pods).instrument(span).await
            }
        }
    }

    async fn create(&self, key: &str, set: &Arc<ReplicaSet>, count: usize) -> Result<(), keelson_client::Error> {
        self.expectations.expect_creations(key, count);
        let Some(template) = new_pod(set) else {
            self.expectations.creations_observed(key, count);
            return Ok(());
        };
        let api = self.client.namespaced::<Pod>(meta::namespace(&set.metadata));
        let about = reference(set.as_ref());
        let mut made = 0;
        for batch in plan::batches(count) {
            let creations = (0..batch).map(|_| api.create(&template));
            let outcomes: Vec<_> = futures::stream::iter(creations).buffer_unordered(CONCURRENCY).collect().await;
            let mut failure = None;
            for outcome in outcomes {
                match outcome {
                    Ok(pod) => {
                        made += 1;
                        let message = format!("Created pod: {}", meta::name(&pod.metadata));
                        self.events.normal(&about, "SuccessfulCreate", message);
                    }
                    Err(error) if error.is_namespace_terminating() => {
                        // Nothing can be made here any more, and nobody needs to be told.
                        self.expectations.creations_observed(key, count - made);
                        return Ok(());
                    }
                    Err(error) => {
                        self.events.warning(&about, "FailedCreate", format!("Error creating: {error}"));
                        failure.get_or_insert(error);
                    }
                }
            }
            if let Some(error) = failure {
                self.expectations.creations_observed(key, count - made);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn delete(&self, key: &str, set: &Arc<ReplicaSet>, pods: Vec<Arc<Pod>>) -> Result<(), keelson_client::Error> {
        self.expectations.expect_deletions(key, pods.iter().map(|pod| meta::uid(&pod.metadata).to_owned()));
        let api = self.client.namespaced::<Pod>(meta::namespace(&set.metadata));
        let about = reference(set.as_ref());
        let deletions = pods.into_iter().map(|pod| {
            let api = &api;
            async move {
                let options = DeleteOptions::of_uid(meta::uid(&pod.metadata));
                let outcome = api.delete(meta::name(&pod.metadata), &options).await;
                (pod, outcome)
            }
        });
        let outcomes: Vec<_> = futures::stream::iter(deletions).buffer_unordered(CONCURRENCY).collect().await;
        let mut failure = None;
        for (pod, outcome) in outcomes {
            match outcome {
                Ok(()) => {
                    let message = format!("Deleted pod: {}", meta::name(&pod.metadata));
                    self.events.normal(&about, "SuccessfulDelete", message);
                }
                Err(error) => {
                    self.expectations.deletion_observed(key, meta::uid(&pod.metadata));
                    // A pod that is gone already, or whose name another has now, needed no deleting.
                    if !error.is_not_found() && !error.is_conflict() {
                        self.events.warning(&about, "FailedDelete", format!("Error deleting: {error}"));
                        failure.get_or_insert(error);
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// The pod that the ReplicaSet's template describes.
fn new_pod(set: &ReplicaSet) -> Option<Pod> {
    let template = set.spec.as_ref()?.template.as_ref()?;
    let of_template = template.metadata.as_ref();
    Some(Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", meta::name(&set.metadata))),
            namespace: set.metadata.namespace.clone(),
            labels: of_template.and_then(|metadata| metadata.labels.clone()),
            annotations: of_template.and_then(|metadata| metadata.annotations.clone()),
            finalizers: of_template.and_then(|metadata| metadata.finalizers.clone()),
            owner_references: Some(vec![ownership::controller_reference(&set.metadata, "apps/v1", "ReplicaSet")]),
            ..Default::default()
        },
        spec: template.spec.clone(),
        status: None,
    })
}

impl Reconciler for ReplicaSets {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, Error> {
        let Some(set) = self.sets.get_key(key) else {
            return Ok(None);
        };
        let name = key.to_string();
        let ready_to_plan = self.expectations.satisfied(&name);
        let pods = self.claim(&set).await?;
        let mut failure = None;
        if ready_to_plan {
            let colocated = if pods.len() > plan::wanted(&set) { self.colocated(&set) } else { Colocated::new() };
            if let Some(change) = plan::plan(&set, &pods, &colocated, Timestamp::now()) {
                failure = self.carry_out(&name, &set, change).await.err();
            }
        }
        let now = Timestamp::now();
        let words = failure.as_ref().map(ToString::to_string);
        let status = match (ready_to_plan, &words) {
            (true, words) => plan::status(&set, &pods, words.as_deref(), now),
            // Without a try there is nothing new to say of failures.
            (false, _) => plan::status_unjudged(&set, &pods, now),
        };
        if Some(&status) != set.status.as_ref() {
            let patch = patching::status(set.status.as_ref(), &status, set.metadata.resource_version.as_deref());
            let api = self.client.namespaced::<ReplicaSet>(&key.namespace);
            api.patch_status(&key.name, &patch).await?;
        }
        match failure {
            Some(error) => Err(error.into()),
            None => Ok(plan::look_again(&set, &pods, now)),
        }
    }
}
