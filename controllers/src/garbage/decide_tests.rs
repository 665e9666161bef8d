use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::graph::Work;
use super::super::identity::{FOREGROUND, ORPHAN};
use super::*;
use crate::dynamic::ResourceType;

fn kind(name: &str) -> Arc<ResourceType> {
    Arc::new(ResourceType {
        group: "apps".into(),
        version: "v1".into(),
        resource: format!("{}s", name.to_lowercase()),
        kind: name.into(),
        namespaced: true,
        verbs: Vec::new(),
    })
}

fn reference(owner: &str, blocks: bool) -> OwnerReference {
    OwnerReference {
        api_version: "apps/v1".into(),
        kind: "Thing".into(),
        name: owner.into(),
        uid: owner.into(),
        controller: None,
        block_owner_deletion: Some(blocks),
    }
}

fn object(uid: &str, owners: &[&str]) -> Observed {
    let metadata = ObjectMeta {
        namespace: Some("default".into()),
        name: Some(uid.into()),
        uid: Some(uid.into()),
        resource_version: Some("1".into()),
        owner_references: Some(owners.iter().map(|owner| reference(owner, true)).collect()),
        ..Default::default()
    };
    Observed { kind: kind("Thing"), record: Arc::new(metadata.into()) }
}

fn leaving(mut object: Observed, finalizer: &str) -> Observed {
    let record = Arc::make_mut(&mut object.record);
    record.leaving = true;
    record.finalizers = [finalizer.to_owned()].into();
    object
}

fn graph(objects: &[Observed]) -> Graph {
    let mut graph = Graph::default();
    for object in objects {
        graph.observe(object.clone());
    }
    graph
}

fn found(owners: &[(&str, Owner)]) -> BTreeMap<String, Owner> {
    owners.iter().map(|(uid, owner)| ((*uid).to_owned(), *owner)).collect()
}

#[test]
fn decisions_by_owners() {
    use Owner::{Absent, AwaitsDependents, Present};
    let kept = |owners: &[&str]| Decision::KeepReferences(owners.iter().map(|owner| reference(owner, true)).collect());
    // owners as found, whether the object has a dependent of its own -> decision
    let cases = [
        (vec![], false, Decision::Nothing),
        (vec![("a", Present)], false, Decision::Nothing),
        (vec![("a", Absent)], false, Decision::Delete(Policy::Background)),
        (vec![("a", Absent), ("b", Absent)], false, Decision::Delete(Policy::Background)),
        (vec![("a", Absent), ("b", Present)], false, kept(&["b"])),
        (vec![("a", AwaitsDependents), ("b", Present)], false, kept(&["b"])),
        (vec![("a", AwaitsDependents)], false, Decision::Delete(Policy::Background)),
        (vec![("a", AwaitsDependents)], true, Decision::Delete(Policy::Foreground)),
        (vec![("a", Absent)], true, Decision::Delete(Policy::Background)),
    ];
    for (owners, has_dependent, expected) in cases {
        let uids: Vec<&str> = owners.iter().map(|(uid, _)| *uid).collect();
        let me = object("me", &uids);
        let mut objects = vec![me.clone()];
        if has_dependent {
            objects.push(object("child", &["me"]));
        }
        assert_eq!(decide(&graph(&objects), &me, &found(&owners)), expected, "{owners:?} {has_dependent}");
    }
}

#[test]
fn doubt_never_deletes() {
    let me = object("me", &["unknown"]);
    assert_eq!(decide(&graph(std::slice::from_ref(&me)), &me, &BTreeMap::new()), Decision::Nothing);
}

#[test]
fn finalizers_carry_the_policy_on() {
    for (finalizer, policy) in [(ORPHAN, Policy::Orphan), (FOREGROUND, Policy::Foreground)] {
        let mut me = object("me", &["a"]);
        Arc::make_mut(&mut me.record).finalizers = [finalizer.to_owned()].into();
        let decision = decide(&graph(std::slice::from_ref(&me)), &me, &found(&[("a", Owner::Absent)]));
        assert_eq!(decision, Decision::Delete(policy));
    }
}

#[test]
fn foreground_waits_for_what_blocks() {
    let owner = leaving(object("owner", &[]), FOREGROUND);
    let decision = |others: &[Observed]| {
        let mut objects = vec![owner.clone()];
        objects.extend_from_slice(others);
        decide(&graph(&objects), &owner, &BTreeMap::new())
    };
    assert_eq!(decision(&[]), Decision::Finish);
    assert_eq!(decision(&[object("child", &["owner"])]), Decision::AwaitDependents(vec!["child".into()]));
    let mut free = object("free", &["owner"]);
    Arc::make_mut(&mut free.record).owners[0].block_owner_deletion = Some(false);
    assert_eq!(decision(&[free]), Decision::Finish);
    let busy = leaving(object("busy", &["owner"]), FOREGROUND);
    assert_eq!(decision(&[busy]), Decision::AwaitDependents(vec![]));
}

#[test]
fn a_circle_of_waiting_is_broken() {
    let a = leaving(object("a", &["b"]), FOREGROUND);
    let b = object("b", &["a"]);
    let graph = graph(&[a, b.clone()]);
    let decision = decide(&graph, &b, &found(&[("a", Owner::AwaitsDependents)]));
    assert_eq!(decision, Decision::KeepReferences(vec![reference("a", false)]));
}

#[test]
fn what_leaves_otherwise_is_left_alone() {
    let me = leaving(object("me", &["a"]), "example.com/other");
    assert_eq!(decide(&graph(std::slice::from_ref(&me)), &me, &found(&[("a", Owner::Absent)])), Decision::Nothing);
}

#[test]
fn owners_in_the_graph_are_known_only_under_their_own_name() {
    let owner = object("a", &[]);
    let me = object("me", &["a"]);
    let graph = graph(&[owner, me.clone()]);
    assert_eq!(known_owner(&graph, &me, &reference("a", true)), Some(Owner::Present));
    let mut renamed = reference("a", true);
    renamed.name = "b".into();
    assert_eq!(known_owner(&graph, &me, &renamed), None);
    let metadata = ObjectMeta { namespace: Some("other".into()), name: Some("me".into()), ..Default::default() };
    let elsewhere = Observed { kind: kind("Thing"), record: Arc::new(metadata.into()) };
    assert_eq!(known_owner(&graph, &elsewhere, &reference("a", true)), None);
    assert_eq!(known_owner(&graph, &me, &reference("missing", true)), None);
}

#[test]
fn changes_name_what_has_to_be_looked_at() {
    let examine = |uid: &str| Work::Examine(uid.into());
    let mut graph = Graph::default();
    // An owner that was never seen.
    assert_eq!(graph.observe(object("child", &["owner"])), [examine("child")]);
    // It appears.
    assert_eq!(graph.observe(object("owner", &[])), []);
    assert_eq!(graph.observe(object("second", &["owner"])), []);
    // It begins to leave, dependents first.
    let work: BTreeSet<Work> = graph.observe(leaving(object("owner", &[]), FOREGROUND)).into_iter().collect();
    assert_eq!(work, BTreeSet::from([examine("child"), examine("second"), examine("owner")]));
    // One dependent goes, one stops to refer to it.
    assert_eq!(graph.forget("child"), [examine("owner")]);
    assert_eq!(graph.observe(object("second", &[])), [examine("owner")]);
    assert_eq!(graph.dependents("owner").count(), 0);
    // Orphaning.
    graph.observe(object("third", &["other"]));
    assert_eq!(graph.observe(leaving(object("other", &[]), ORPHAN)), [Work::Release("other".into())]);
    assert_eq!(graph.forget("other"), [examine("third")]);
}

#[test]
fn a_fresh_listing_forgets_what_it_does_not_show() {
    let mut graph = graph(&[object("owner", &[]), object("child", &["owner"])]);
    let work = graph.retain(&kind("Thing"), &BTreeSet::from(["child".into()]));
    assert_eq!(work, [Work::Examine("child".into())]);
    assert!(graph.get("owner").is_none());
    assert_eq!(graph.everything_to_examine(), [Work::Examine("child".into())]);
    assert_eq!(graph.retain(&kind("Other"), &BTreeSet::new()), []);
    assert_eq!(graph.len(), 1);
}
