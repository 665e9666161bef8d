//! The state that one plan works on: the Deployment, its ReplicaSets as they will be after the steps planned so far, and
//! those steps.
//!
//! Every change of a ReplicaSet goes through here, so that later decisions of the same plan see it, and what is sent is
//! the difference between what was observed and what was decided.

use std::cmp::Reverse;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{annotations, read, template};
use crate::{meta, ownership};

/// One step of a plan. Steps are executed in order; the first that fails ends the execution.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Make the ReplicaSet of the present template.
    Create(Arc<ReplicaSet>),
    /// Bring a ReplicaSet from what was observed to what was decided: its size, its annotations.
    Change { observed: Arc<ReplicaSet>, decided: Arc<ReplicaSet> },
    /// Drop an old ReplicaSet that the history has no room for.
    Delete(Arc<ReplicaSet>),
}

/// Deployment, ReplicaSets and steps.
#[derive(Debug)]
pub struct Rollout<'a> {
    pub deployment: &'a Deployment,
    /// The ReplicaSet of the present template, if there is one.
    pub new: Option<Arc<ReplicaSet>>,
    /// All others, oldest first.
    pub old: Vec<Arc<ReplicaSet>>,
    pub steps: Vec<Step>,
    /// The revision of the new ReplicaSet, once it is known.
    pub revision: Option<String>,
    /// Whether the new ReplicaSet is made by this plan.
    pub created: bool,
}

impl<'a> Rollout<'a> {
    /// Tells the new ReplicaSet from the old ones: the oldest that has the Deployment's template is the new one.
    pub fn new(deployment: &'a Deployment, sets: &[Arc<ReplicaSet>]) -> Self {
        let mut old = sets.to_vec();
        old.sort_by(|a, b| age_order(a, b));
        let wanted = read::spec(deployment).map(|spec| &spec.template);
        let is_new = |set: &Arc<ReplicaSet>| {
            let template = set.spec.as_ref().and_then(|spec| spec.template.as_ref());
            matches!((wanted, template), (Some(wanted), Some(template)) if template::same(wanted, template))
        };
        let new = old.iter().position(is_new).map(|index| old.remove(index));
        Self { deployment, new, old, steps: Vec::new(), revision: None, created: false }
    }

    /// Every ReplicaSet, the new one last.
    pub fn all(&self) -> impl Iterator<Item = &Arc<ReplicaSet>> {
        self.old.iter().chain(self.new.as_ref())
    }

    /// Brings the new ReplicaSet's annotations and settings up to the Deployment's.
    /// Says whether that needs a write of its own before anything else may be planned on it.
    pub fn sync_revision(&mut self) -> bool {
        let Some(new) = self.new.clone() else {
            return false;
        };
        let mut decided = new.as_ref().clone();
        let mut changed = annotations::sync(self.deployment, &mut decided, self.next_revision());
        self.revision = meta::annotation(&decided.metadata, annotations::REVISION).map(str::to_owned);
        let min_ready = read::spec(self.deployment).and_then(|spec| spec.min_ready_seconds);
        if let Some(spec) = decided.spec.as_mut()
            && spec.min_ready_seconds.unwrap_or(0) != min_ready.unwrap_or(0)
        {
            spec.min_ready_seconds = min_ready;
            changed = true;
        }
        if changed {
            self.change(&new, Arc::new(decided));
        }
        changed
    }

    fn next_revision(&self) -> i64 {
        let last = self.old.iter().map(|set| annotations::revision(set)).max();
        last.unwrap_or(0).saturating_add(1)
    }

    /// Plans the ReplicaSet of the present template, if there is none: as large as the strategy allows right now.
    pub fn create_new(&mut self) {
        let Some(spec) = read::spec(self.deployment).filter(|_| self.new.is_none()) else {
            return;
        };
        let collisions = self.deployment.status.as_ref().and_then(|status| status.collision_count);
        let hash = template::hash(&spec.template, collisions);
        let mut template = spec.template.clone();
        let mut selector = spec.selector.clone();
        let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
        labels.insert(template::HASH_LABEL.to_owned(), hash.clone());
        let labels = labels.clone();
        selector.match_labels.get_or_insert_default().insert(template::HASH_LABEL.to_owned(), hash.clone());
        let mut set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(format!("{}-{hash}", meta::name(&self.deployment.metadata))),
                namespace: self.deployment.metadata.namespace.clone(),
                labels: Some(labels),
                owner_references: Some(vec![ownership::controller_reference(
                    &self.deployment.metadata,
                    "apps/v1",
                    "Deployment",
                )]),
                ..Default::default()
            },
            spec: Some(ReplicaSetSpec {
                replicas: Some(0),
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: Some(template),
            }),
            status: None,
        };
        let size = self.size_for_new(0);
        if let Some(spec) = set.spec.as_mut() {
            spec.replicas = Some(size);
        }
        annotations::sync(self.deployment, &mut set, self.next_revision());
        annotations::record_sizes(self.deployment, &mut set);
        self.revision = meta::annotation(&set.metadata, annotations::REVISION).map(str::to_owned);
        let set = Arc::new(set);
        self.steps.push(Step::Create(set.clone()));
        self.new = Some(set);
        self.created = true;
    }

    /// How large the new ReplicaSet, now of size `present`, may be: the wanted size, as far as the surge has room.
    pub fn size_for_new(&self, present: i32) -> i32 {
        let wanted = read::wanted(self.deployment);
        if !read::is_rolling(self.deployment) {
            return wanted;
        }
        let existing = read::total(self.all(), read::set_wanted);
        let room = read::max_replicas(self.deployment) - existing;
        if room <= 0 {
            return present;
        }
        present + room.min(wanted - present)
    }

    /// Plans a ReplicaSet's size, and records the Deployment's sizes on it. Says whether the size changed.
    pub fn scale(&mut self, set: &Arc<ReplicaSet>, size: i32) -> bool {
        let resized = read::set_wanted(set) != size;
        if !resized && !annotations::sizes_are_stale(self.deployment, set) {
            return false;
        }
        let mut decided = set.as_ref().clone();
        if let Some(spec) = decided.spec.as_mut() {
            spec.replicas = Some(size);
        }
        annotations::record_sizes(self.deployment, &mut decided);
        self.change(set, Arc::new(decided));
        resized
    }

    fn change(&mut self, set: &Arc<ReplicaSet>, decided: Arc<ReplicaSet>) {
        for known in self.old.iter_mut().chain(self.new.as_mut()) {
            if known.metadata.uid == set.metadata.uid && known.metadata.name == set.metadata.name {
                *known = decided.clone();
            }
        }
        // A second change of the same object joins the first: one write, from what was observed to the last decision.
        for step in &mut self.steps {
            match step {
                Step::Change { decided: earlier, .. } | Step::Create(earlier) if Arc::ptr_eq(earlier, set) => {
                    *earlier = decided;
                    return;
                }
                _ => {}
            }
        }
        self.steps.push(Step::Change { observed: set.clone(), decided });
    }
}

/// Oldest first; the name decides between equals.
pub fn age_order(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    let key = |set: &ReplicaSet| (meta::created(&set.metadata), set.metadata.name.clone());
    key(a).cmp(&key(b))
}

/// Largest first, and the newer first among equals.
pub fn largest_newer_first(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    Reverse(read::set_wanted(a)).cmp(&Reverse(read::set_wanted(b))).then_with(|| age_order(b, a))
}

/// Largest first, and the older first among equals.
pub fn largest_older_first(a: &ReplicaSet, b: &ReplicaSet) -> std::cmp::Ordering {
    Reverse(read::set_wanted(a)).cmp(&Reverse(read::set_wanted(b))).then_with(|| age_order(a, b))
}
