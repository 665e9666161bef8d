//! Who owns whom, over all kinds: built from what is observed, and nothing else.
//!
//! Every change names the objects that have to be looked at because of it. An object that refers to an owner which was
//! never observed is looked at too: the owner may be absent, and only a live read can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::identity::{Observed, Record};

/// Something to look at.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Work {
    /// Whether this object should go, or whether its leaving can go on.
    Examine(String),
    /// This object waits for its dependents to be let go.
    Release(String),
}

/// Objects by uid, and the dependents of each owner's uid, observed or not.
#[derive(Debug, Default)]
pub struct Graph {
    objects: BTreeMap<Arc<str>, Observed>,
    dependents: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl Graph {
    pub fn get(&self, uid: &str) -> Option<&Observed> {
        self.objects.get(uid)
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// The observed objects that refer to this owner.
    pub fn dependents<'a>(&'a self, owner: &str) -> impl Iterator<Item = &'a Observed> {
        let uids = self.dependents.get(owner).into_iter().flatten();
        uids.filter_map(|uid| self.objects.get(uid))
    }

    /// Takes in an object as it is now.
    pub fn observe(&mut self, object: Observed) -> Vec<Work> {
        let uid = object.uid.clone();
        let before = self.objects.insert(uid.clone(), object.clone());
        let mut work = Vec::new();
        for reference in &object.owners {
            self.dependents.entry(reference.uid.as_str().into()).or_default().insert(uid.clone());
            let was_known = before.as_ref().is_some_and(|before| before.reference_to(&reference.uid).is_some());
            let owner = self.objects.get(reference.uid.as_str());
            let owner_is_settled = owner.is_some_and(|owner| {
                owner.name() == reference.name
                    && owner.kind.kind == reference.kind
                    && !owner.awaits_deletion_of_dependents()
            });
            if !was_known && !owner_is_settled {
                work.push(Work::Examine(uid.to_string()));
            }
        }
        if let Some(before) = &before {
            self.leave_former_owners(before, &object, &mut work);
        }
        self.note_transition(before.as_ref(), &object, &mut work);
        work
    }

    /// A dependent that dropped a reference, or no longer blocks, may have been what its owner waited for.
    fn leave_former_owners(&mut self, before: &Observed, now: &Observed, work: &mut Vec<Work>) {
        for former in &before.owners {
            let present = now.reference_to(&former.uid);
            if present.is_none() {
                self.forget_dependent(&former.uid, &now.uid);
            }
            let blocks = |reference: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
                reference.block_owner_deletion == Some(true)
            };
            let unblocked = blocks(former) && !present.is_some_and(blocks);
            if unblocked && self.awaits_dependents(&former.uid) {
                work.push(Work::Examine(former.uid.clone()));
            }
        }
    }

    fn awaits_dependents(&self, uid: &str) -> bool {
        self.objects.get(uid).is_some_and(|object| object.awaits_deletion_of_dependents())
    }

    fn note_transition(&self, before: Option<&Observed>, now: &Observed, work: &mut Vec<Work>) {
        let begins = |state: fn(&Record) -> bool| state(now) && !before.is_some_and(|before| state(before));
        if begins(Record::awaits_release_of_dependents) {
            work.push(Work::Release(now.uid.to_string()));
        }
        if begins(Record::awaits_deletion_of_dependents) {
            work.extend(self.dependents(&now.uid).map(|dependent| Work::Examine(dependent.uid.to_string())));
            work.push(Work::Examine(now.uid.to_string()));
        }
    }

    /// Takes in that an object is gone.
    pub fn forget(&mut self, uid: &str) -> Vec<Work> {
        let mut work: Vec<Work> =
            self.dependents(uid).map(|dependent| Work::Examine(dependent.uid.to_string())).collect();
        let Some(gone) = self.objects.remove(uid) else {
            return work;
        };
        for reference in &gone.owners {
            self.forget_dependent(&reference.uid, uid);
            if self.awaits_dependents(&reference.uid) {
                work.push(Work::Examine(reference.uid.clone()));
            }
        }
        work
    }

    fn forget_dependent(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// Drops every object of a kind that is not among `present`: what a fresh listing no longer shows.
    pub fn retain(&mut self, kind: &crate::dynamic::ResourceType, present: &BTreeSet<Arc<str>>) -> Vec<Work> {
        let gone: Vec<Arc<str>> = self
            .objects
            .values()
            .filter(|object| *object.kind == *kind && !present.contains(&object.uid))
            .map(|object| object.uid.clone())
            .collect();
        gone.iter().flat_map(|uid| self.forget(uid)).collect()
    }

    /// Every object whose owners or leaving may need attention: what a collector that just started has to look at.
    pub fn everything_to_examine(&self) -> Vec<Work> {
        let mut work = BTreeSet::new();
        for object in self.objects.values() {
            if object.awaits_release_of_dependents() {
                work.insert(Work::Release(object.uid.to_string()));
            }
            let unknown_owner = object.owners.iter().any(|reference| {
                self.objects
                    .get(reference.uid.as_str())
                    .is_none_or(|owner| owner.leaving || owner.name() != reference.name)
            });
            if unknown_owner || object.awaits_deletion_of_dependents() {
                work.insert(Work::Examine(object.uid.to_string()));
            }
        }
        work.into_iter().collect()
    }
}
