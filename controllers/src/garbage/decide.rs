//! What to do about one object, by its owners and dependents.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::graph::Graph;
use super::identity::{Observed, Record};

/// How an owner that an object refers to was found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Owner {
    /// It does not exist, or another object has its name now.
    Absent,
    /// It exists.
    Present,
    /// It exists, is being deleted, and waits for its dependents to go first.
    AwaitsDependents,
}

/// How dependents of a deleted object are treated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    Background,
    Foreground,
    Orphan,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Nothing,
    /// Delete it, on the condition that it still is what was observed.
    Delete(Policy),
    /// Some owners are gone or leaving while others stay: keep only these references.
    KeepReferences(Vec<OwnerReference>),
    /// Nothing blocks its leaving any more: remove the foreground finalizer.
    Finish,
    /// It waits for these dependents: look at them.
    AwaitDependents(Vec<String>),
}

/// What the graph says about an owner; nothing when only a live read can tell.
pub fn known_owner(graph: &Graph, dependent: &Observed, reference: &OwnerReference) -> Option<Owner> {
    let owner = graph.get(&reference.uid)?;
    let group_version = owner.kind.api_version();
    let reachable = owner.namespace().is_empty() || owner.namespace() == dependent.namespace();
    let same_group = group(&group_version) == group(&reference.api_version);
    if !reachable || owner.name() != reference.name || owner.kind.kind != reference.kind || !same_group {
        return None;
    }
    Some(judge_owner(owner))
}

pub fn judge_owner(owner: &Record) -> Owner {
    if owner.awaits_deletion_of_dependents() { Owner::AwaitsDependents } else { Owner::Present }
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// Decides about one object. `owners` says for each owner's uid how it was found; a reference that is not in there
/// counts as present, so that doubt never deletes.
pub fn decide(graph: &Graph, object: &Observed, owners: &BTreeMap<String, Owner>) -> Decision {
    if object.leaving && !object.awaits_deletion_of_dependents() {
        return Decision::Nothing;
    }
    if object.awaits_deletion_of_dependents() {
        return await_dependents(graph, object);
    }
    if object.owners.is_empty() {
        return Decision::Nothing;
    }
    let found = |reference: &OwnerReference| owners.get(&reference.uid).copied().unwrap_or(Owner::Present);
    let present: Vec<OwnerReference> =
        object.owners.iter().filter(|reference| found(reference) == Owner::Present).cloned().collect();
    if present.len() == object.owners.len() {
        return Decision::Nothing;
    }
    if !present.is_empty() {
        return Decision::KeepReferences(present);
    }
    let awaited = object.owners.iter().any(|reference| found(reference) == Owner::AwaitsDependents);
    let mut dependents = graph.dependents(&object.uid).peekable();
    if !awaited || dependents.peek().is_none() {
        return Decision::Delete(policy_of(object));
    }
    // A dependent that waits for its own dependents closes a circle in which each would wait for the next: stop
    // blocking the owner, or none of them would ever go.
    let circle = dependents.any(|dependent| dependent.awaits_deletion_of_dependents());
    let blocks = object.owners.iter().any(|reference| reference.block_owner_deletion == Some(true));
    if circle && blocks {
        let unblocked = object
            .owners
            .iter()
            .cloned()
            .map(|reference| OwnerReference { block_owner_deletion: Some(false), ..reference });
        return Decision::KeepReferences(unblocked.collect());
    }
    Decision::Delete(Policy::Foreground)
}

/// The finalizers that it carries say what its owner wished for its dependents.
fn policy_of(object: &Observed) -> Policy {
    if object.orphans_dependents() {
        Policy::Orphan
    } else if object.deletes_dependents() {
        Policy::Foreground
    } else {
        Policy::Background
    }
}

fn await_dependents(graph: &Graph, object: &Observed) -> Decision {
    let blocking: Vec<&Observed> = graph
        .dependents(&object.uid)
        .filter(|dependent| {
            dependent.reference_to(&object.uid).is_some_and(|one| one.block_owner_deletion == Some(true))
        })
        .collect();
    if blocking.is_empty() {
        return Decision::Finish;
    }
    let to_examine = blocking.into_iter().filter(|dependent| !dependent.awaits_deletion_of_dependents());
    Decision::AwaitDependents(to_examine.map(|dependent| dependent.uid.to_string()).collect())
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
