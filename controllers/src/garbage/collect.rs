//! Looking at one object, and doing what was decided.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use keelson_client::informer::Informer;
use keelson_client::workqueue::WorkQueue;
use keelson_client::{Api, Client, DeleteOptions, PartialObject, Patch, Propagation};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::decide::{self, Decision, Owner, Policy};
use super::graph::{Graph, Work};
use super::identity::{FOREGROUND, ORPHAN, Observed, Record};
use crate::context::Context;
use crate::dynamic::ResourceType;
use crate::workers::{Error, Reconciler};

/// An owner found absent stays so, uids being unique; the memory of it is kept this long for its many dependents.
const ABSENCE: Duration = Duration::from_secs(600);
/// More absences than this are not remembered.
const MOST_ABSENCES: usize = 10_000;

impl fmt::Display for Work {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Examine(uid) => write!(formatter, "{uid}"),
            Self::Release(uid) => write!(formatter, "dependents of {uid}"),
        }
    }
}

#[derive(Default)]
struct Known {
    graph: Graph,
    /// By group and kind.
    served: BTreeMap<(String, String), Arc<ResourceType>>,
    absent: HashMap<String, Instant>,
}

pub struct Collector {
    client: Client,
    queue: WorkQueue<Work>,
    known: Mutex<Known>,
}

impl Collector {
    pub fn new(context: &Context, queue: WorkQueue<Work>) -> Self {
        Self { client: context.client.clone(), queue, known: Mutex::default() }
    }

    pub fn set_served(&self, types: &BTreeSet<Arc<ResourceType>>) {
        let by_kind = types.iter().map(|one| ((one.group.clone(), one.kind.clone()), one.clone()));
        self.known.lock().served = by_kind.collect();
    }

    fn add(&self, work: Vec<Work>) {
        work.into_iter().for_each(|work| self.queue.add(work));
    }

    pub fn observe(&self, object: Observed) {
        let work = self.known.lock().graph.observe(object);
        self.add(work);
    }

    pub fn forget(&self, uid: &str) {
        let work = self.known.lock().graph.forget(uid);
        self.add(work);
    }

    /// Takes in the complete state of a kind.
    pub fn observe_all(&self, kind: &Arc<ResourceType>, informer: &Informer<Record>) {
        let store = informer.store();
        let mut known = self.known.lock();
        let mut work = Vec::new();
        for record in store.values() {
            work.extend(known.graph.observe(Observed { kind: kind.clone(), record: record.clone() }));
        }
        let present = store.values().map(|record| record.uid.clone()).collect();
        work.extend(known.graph.retain(kind, &present));
        drop(known);
        self.add(work);
    }

    /// A kind is no longer served: what was known of it is forgotten, and nothing is concluded from that.
    pub fn forget_kind(&self, kind: &ResourceType) {
        let _ = self.known.lock().graph.retain(kind, &BTreeSet::new());
    }

    pub fn examine_everything(&self) {
        let (work, objects) = {
            let known = self.known.lock();
            (known.graph.everything_to_examine(), known.graph.len())
        };
        tracing::info!(objects, to_examine = work.len(), "the graph of owners is complete");
        self.add(work);
    }

    fn api(&self, kind: &ResourceType, namespace: &str) -> Api<PartialObject> {
        self.client.resource(&kind.to_client(), namespace)
    }

    async fn examine(&self, uid: &str) -> Result<(), Error> {
        let (object, mut owners, doubtful) = {
            let known = self.known.lock();
            let Some(object) = known.graph.get(uid).cloned() else {
                return Ok(());
            };
            let mut owners = BTreeMap::new();
            let mut doubtful = Vec::new();
            // What leaves already is judged by its dependents alone.
            for reference in object.owners.iter().filter(|_| !object.leaving) {
                match decide::known_owner(&known.graph, &object, reference) {
                    Some(owner) => drop(owners.insert(reference.uid.clone(), owner)),
                    None if known.absent.get(&reference.uid).is_some_and(|since| since.elapsed() < ABSENCE) => {
                        owners.insert(reference.uid.clone(), Owner::Absent);
                    }
                    None => doubtful.push(reference.clone()),
                }
            }
            (object, owners, doubtful)
        };
        for reference in doubtful {
            let Some(owner) = self.look_up(&object, &reference).await? else {
                // The reference can never be resolved: it protects the object for good.
                return Ok(());
            };
            owners.insert(reference.uid, owner);
        }
        let decision = decide::decide(&self.known.lock().graph, &object, &owners);
        self.carry_out(&object, decision).await
    }

    /// Asks the API server for an owner; nothing if the reference points where an owner cannot be.
    async fn look_up(&self, dependent: &Observed, reference: &OwnerReference) -> Result<Option<Owner>, Error> {
        let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
        let kind = self.known.lock().served.get(&(group.to_owned(), reference.kind.clone())).cloned();
        let Some(kind) = kind else {
            let unknown = format!("no kind {} of {} is served", reference.kind, reference.api_version);
            return Err(Error::Again(unknown));
        };
        if kind.namespaced && dependent.namespace().is_empty() {
            tracing::warn!(
                object = dependent.name(),
                owner = reference.name,
                "a cluster-scoped object refers to an owner in a namespace"
            );
            return Ok(None);
        }
        let namespace = if kind.namespaced { dependent.namespace() } else { "" };
        let live = self.api(&kind, namespace).find(&reference.name).await?;
        let owner = live.map(|live| Record::from(live.metadata)).filter(|live| *live.uid == *reference.uid);
        Ok(Some(match owner {
            Some(owner) => decide::judge_owner(&owner),
            None => {
                self.remember_absence(&reference.uid);
                Owner::Absent
            }
        }))
    }

    fn remember_absence(&self, uid: &str) {
        let mut known = self.known.lock();
        if known.absent.len() >= MOST_ABSENCES {
            known.absent.retain(|_, since| since.elapsed() < ABSENCE);
        }
        if known.absent.len() < MOST_ABSENCES {
            known.absent.insert(uid.to_owned(), Instant::now());
        }
    }

    async fn carry_out(&self, object: &Observed, decision: Decision) -> Result<(), Error> {
        let api = self.api(&object.kind, object.namespace());
        match decision {
            Decision::Nothing => Ok(()),
            Decision::AwaitDependents(dependents) => {
                dependents.into_iter().for_each(|uid| self.queue.add(Work::Examine(uid)));
                Ok(())
            }
            Decision::Delete(policy) => {
                tracing::debug!(
                    kind = object.kind.kind,
                    namespace = object.namespace(),
                    name = object.name(),
                    ?policy,
                    "collecting"
                );
                let options = DeleteOptions {
                    resource_version: Some(object.resource_version.to_string()),
                    propagation: Some(match policy {
                        Policy::Background => Propagation::Background,
                        Policy::Foreground => Propagation::Foreground,
                        Policy::Orphan => Propagation::Orphan,
                    }),
                    ..DeleteOptions::of_uid(&*object.uid)
                };
                settled(api.delete(object.name(), &options).await)
            }
            Decision::KeepReferences(references) => self.write(object, json!({ "ownerReferences": references })).await,
            Decision::Finish => self.drop_finalizer(object, FOREGROUND).await,
        }
    }

    /// Lets go of an owner's dependents, then lets the owner go.
    async fn release(&self, uid: &str) -> Result<(), Error> {
        let (owner, dependents) = {
            let known = self.known.lock();
            let owner = known.graph.get(uid).filter(|owner| owner.awaits_release_of_dependents()).cloned();
            let Some(owner) = owner else {
                return Ok(());
            };
            (owner, known.graph.dependents(uid).cloned().collect::<Vec<_>>())
        };
        for dependent in dependents {
            let rest: Vec<&OwnerReference> = dependent.owners.iter().filter(|one| one.uid != uid).collect();
            self.write(&dependent, json!({ "ownerReferences": rest })).await?;
        }
        self.drop_finalizer(&owner, ORPHAN).await
    }

    async fn drop_finalizer(&self, object: &Observed, finalizer: &str) -> Result<(), Error> {
        let rest: Vec<&String> = object.finalizers.iter().filter(|one| *one != finalizer).collect();
        self.write(object, json!({ "finalizers": rest })).await
    }

    /// Writes a part of the metadata, on the condition that the object still is what was judged.
    async fn write(&self, object: &Observed, mut metadata: Value) -> Result<(), Error> {
        metadata["uid"] = object.uid.as_ref().into();
        metadata["resourceVersion"] = object.resource_version.as_ref().into();
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let api = self.api(&object.kind, object.namespace());
        settled(api.patch(object.name(), &patch).await.map(drop))
    }
}

/// What is gone already needs nothing more.
fn settled(outcome: Result<(), keelson_client::Error>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.is_not_found() => Ok(()),
        outcome => Ok(outcome?),
    }
}

impl Reconciler for Collector {
    type Key = Work;

    async fn reconcile(&self, work: &Work) -> Result<Option<Duration>, Error> {
        match work {
            Work::Examine(uid) => self.examine(uid).await?,
            Work::Release(uid) => self.release(uid).await?,
        }
        Ok(None)
    }
}
