//! One round for one Deployment: claim its ReplicaSets, carry out the plan, report.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use keelson_client::events::EventRecorder;
use keelson_client::informer::{Informer, index};
use keelson_client::{Client, DeleteOptions, ObjectKey, Patch, reference, trace};
use keelson_process::traced;
use serde_json::{Value, json};
use tracing::Instrument;

use super::plan::{self, Plan};
use super::rollout::Step;
use super::strategies::PodsBySet;
use super::{CONTROLLER, annotations, claim, read, status, template};
use crate::context::Context;
use crate::workers::{Error, Reconciler};
use crate::{meta, patching};

pub struct Deployments {
    client: Client,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    events: EventRecorder,
}

impl Deployments {
    pub fn new(context: &Context) -> Self {
        Self {
            client: context.client.clone(),
            deployments: context.deployments(),
            sets: context.replica_sets(),
            pods: context.pods(),
            events: context.events(CONTROLLER),
        }
    }

    /// The pods of each ReplicaSet; only Recreate looks at them.
    fn pods_of(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> PodsBySet {
        if read::is_rolling(deployment) {
            return PodsBySet::new();
        }
        let store = self.pods.store();
        let pods_of = |set: &Arc<ReplicaSet>| {
            let uid = meta::uid(&set.metadata);
            (uid.to_owned(), store.by_index(index::OWNER, uid).cloned().collect())
        };
        sets.iter().map(pods_of).collect()
    }

    async fn carry_out(&self, deployment: &Arc<Deployment>, plan: Plan) -> Result<(), Error> {
        let about = reference(deployment.as_ref());
        if plan.selects_everything {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.events.warning(&about, "SelectingAll", message);
        }
        for step in &plan.steps {
            if self.take(deployment, step).await?
                && let Some(message) = plan::event_message(step)
            {
                self.events.normal(&about, "ScalingReplicaSet", message);
            }
        }
        if plan.status.is_none() && plan.revision.is_none() {
            return Ok(());
        }
        self.write_status(deployment, plan.status.as_ref(), plan.revision).await
    }

    /// Takes one step. Says whether it was this step that did it.
    async fn take(&self, deployment: &Arc<Deployment>, step: &Step) -> Result<bool, Error> {
        let api = self.client.namespaced::<ReplicaSet>(meta::namespace(&deployment.metadata));
        match step {
            Step::Create(set) => self.create(deployment, set).await,
            Step::Change { observed, decided } => {
                api.patch(meta::name(&observed.metadata), &Patch::Merge(change(observed, decided))).await?;
                Ok(true)
            }
            Step::Delete(set) => {
                let options = DeleteOptions {
                    resource_version: set.metadata.resource_version.clone(),
                    ..DeleteOptions::of_uid(meta::uid(&set.metadata))
                };
                match api.delete(meta::name(&set.metadata), &options).await {
                    Err(error) if error.is_not_found() => Ok(false),
                    outcome => Ok(outcome.map(|()| true)?),
                }
            }
        }
    }

    async fn create(&self, deployment: &Arc<Deployment>, set: &ReplicaSet) -> Result<bool, Error> {
        let api = self.client.namespaced::<ReplicaSet>(meta::namespace(&deployment.metadata));
        let error = match api.create(set).await {
            Ok(_) => return Ok(true),
            Err(error) => error,
        };
        if error.is_already_exists() {
            let name = meta::name(&set.metadata);
            // Either an earlier round made it and the cache does not show it yet, or two templates share a hash.
            if let Some(present) = api.find(name).await?
                && is_the_one(deployment, &present)
            {
                return Ok(false);
            }
            let status = deployment.status.clone().unwrap_or_default();
            let collisions = status.collision_count.unwrap_or(0) + 1;
            let status = DeploymentStatus { collision_count: Some(collisions), ..status };
            self.write_status(deployment, Some(&status), None).await?;
            return Err(Error::Again(format!("the name {name} is taken by another ReplicaSet")));
        }
        if !error.is_namespace_terminating() {
            let name = meta::name(&set.metadata);
            let message = format!("Failed to create new replica set {name:?}: {error}");
            let status = status::create_failed(deployment, message.clone(), Timestamp::now());
            self.events.warning(&reference(deployment.as_ref()), "ReplicaSetCreateError", message);
            if Some(&status) != deployment.status.as_ref() {
                self.write_status(deployment, Some(&status), None).await?;
            }
        }
        Err(error.into())
    }

    async fn write_status(
        &self,
        deployment: &Deployment,
        status: Option<&DeploymentStatus>,
        revision: Option<String>,
    ) -> Result<(), Error> {
        let after = status.or(deployment.status.as_ref()).cloned().unwrap_or_default();
        let version = deployment.metadata.resource_version.as_deref();
        let mut patch = match patching::status(deployment.status.as_ref(), &after, version) {
            Patch::Merge(patch) | Patch::Strategic(patch) | Patch::Json(patch) => patch,
        };
        if let Some(revision) = revision {
            patch["metadata"]["annotations"] = json!({ annotations::REVISION: revision });
        }
        let api = self.client.namespaced::<Deployment>(meta::namespace(&deployment.metadata));
        api.patch_status(meta::name(&deployment.metadata), &Patch::Merge(patch)).await?;
        Ok(())
    }
}

/// Whether a ReplicaSet that has the wanted name is the Deployment's for its present template.
fn is_the_one(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let ours = meta::controller_of(&set.metadata).is_some_and(|owner| owner.uid == meta::uid(&deployment.metadata));
    let wanted = read::spec(deployment).map(|spec| &spec.template);
    let present = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
    ours && matches!((wanted, present), (Some(wanted), Some(present)) if template::same(wanted, present))
}

/// The merge patch for what a plan changes of a ReplicaSet, on the condition that it still is as observed.
fn change(observed: &ReplicaSet, decided: &ReplicaSet) -> Value {
    let annotations = |set: &ReplicaSet| json!(set.metadata.annotations.clone().unwrap_or_default());
    let settings = |set: &ReplicaSet| {
        let spec = set.spec.as_ref();
        json!({
            "replicas": spec.and_then(|spec| spec.replicas),
            "minReadySeconds": spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0),
        })
    };
    let mut patch = json!({"metadata": {"resourceVersion": observed.metadata.resource_version}});
    if let Some(annotations) = patching::difference(&annotations(observed), &annotations(decided)) {
        patch["metadata"]["annotations"] = annotations;
    }
    if let Some(settings) = patching::difference(&settings(observed), &settings(decided)) {
        patch["spec"] = settings;
    }
    patch
}

impl Reconciler for Deployments {
    type Key = ObjectKey;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Option<Duration>, Error> {
        let Some(deployment) = self.deployments.get_key(key) else {
            return Ok(None);
        };
        let sets = claim::claim(&self.client, &self.sets, &deployment).await?;
        let pods = self.pods_of(&deployment, &sets);
        let plan = plan::plan(&deployment, &sets, &pods, Timestamp::now());
        let look_again = plan.look_again;
        let span = match plan.steps.is_empty() {
            true => tracing::Span::none(),
            false => trace::continued(&deployment.metadata, || traced!("deployment roll out", deployment = %key)),
        };
        self.carry_out(&deployment, plan).instrument(span).await?;
        Ok(look_again)
    }
}
