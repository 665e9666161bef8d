//! Which pods go first when a ReplicaSet shrinks: those whose loss costs least.

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::{meta, pods};

/// A pod's own word on how costly its deletion is; zero when it says nothing.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// How many active pods of the same workload each node carries.
pub type Colocated = HashMap<String, usize>;

pub fn colocated<'a>(related: impl IntoIterator<Item = &'a Arc<Pod>>) -> Colocated {
    let mut counts = Colocated::new();
    for pod in related {
        if pods::is_active(pod) {
            *counts.entry(pods::node_name(pod).to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Sorts pods so that those to be deleted first come first.
pub fn sort(pods: &mut [Arc<Pod>], colocated: &Colocated, now: Timestamp) {
    pods.sort_by(|a, b| order(a, b, colocated, now));
}

/// A total order, or sorting could not rely on it: each rule decides only if all before it found no difference, and the
/// uid comes last.
fn order(a: &Pod, b: &Pod, colocated: &Colocated, now: Timestamp) -> Ordering {
    let neighbours = |pod: &Pod| Reverse(colocated.get(pods::node_name(pod)).copied().unwrap_or(0));
    let ready_age = |pod: &Pod| magnitude(pods::ready_since(pod), now);
    let age = |pod: &Pod| magnitude(pod.metadata.creation_timestamp.as_ref().map(|time| time.0), now);
    is_assigned(a)
        .cmp(&is_assigned(b))
        .then_with(|| phase_rank(a).cmp(&phase_rank(b)))
        .then_with(|| pods::is_ready(a).cmp(&pods::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| neighbours(a).cmp(&neighbours(b)))
        .then_with(|| ready_age(a).cmp(&ready_age(b)))
        .then_with(|| Reverse(pods::most_restarts(a)).cmp(&Reverse(pods::most_restarts(b))))
        .then_with(|| age(a).cmp(&age(b)))
        .then_with(|| meta::uid(&a.metadata).cmp(meta::uid(&b.metadata)))
}

fn is_assigned(pod: &Pod) -> bool {
    !pods::node_name(pod).is_empty()
}

fn phase_rank(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    meta::annotation(&pod.metadata, DELETION_COST).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The power of two of an age in nanoseconds: the younger goes first, an unknown age before all. Ages of one magnitude
/// count as the same age, so the youngest are not always the ones to go, and a failure domain that was filled last does
/// not lose everything.
fn magnitude(since: Option<Timestamp>, now: Timestamp) -> i32 {
    let Some(since) = since else {
        return -2;
    };
    match u128::try_from(now.duration_since(since).as_nanos()) {
        Ok(age) if age > 0 => i32::try_from(age.ilog2()).unwrap_or(i32::MAX),
        _ => -1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Sketch, now};
    use super::*;

    fn names(mut pods: Vec<Arc<Pod>>, related: &[Arc<Pod>]) -> Vec<String> {
        sort(&mut pods, &colocated(related), now());
        pods.iter().map(|pod| meta::name(&pod.metadata).to_owned()).collect()
    }

    #[test]
    fn each_rule_decides_when_those_before_it_do_not() {
        let running = || Sketch::new("").node("n1").phase("Running");
        let ready = || running().ready_for(1000);
        // (goes first, stays)
        let cases = [
            (Sketch::new("first"), Sketch::new("stays").node("n1")),
            (Sketch::new("first").node("n1").phase("Pending"), running().named("stays")),
            (Sketch::new("first").node("n1").phase("Unknown"), running().named("stays")),
            (running().named("first"), ready().named("stays")),
            (ready().named("first").cost("-5"), ready().named("stays")),
            (ready().named("first"), ready().named("stays").cost("10")),
            (running().named("first").ready_for(10), running().named("stays").ready_for(100_000)),
            (ready().named("first").restarts(7), ready().named("stays").restarts(1)),
            (ready().named("first").age(10), ready().named("stays").age(100_000)),
        ];
        for (first, stays) in cases {
            let (first, stays) = (first.pod(), stays.pod());
            for pair in [vec![first.clone(), stays.clone()], vec![stays.clone(), first.clone()]] {
                assert_eq!(names(pair, &[]), ["first", "stays"], "{first:?} {stays:?}");
            }
        }
    }

    #[test]
    fn crowded_nodes_lose_pods_first() {
        let on = |name: &str, node: &str| Sketch::new(name).node(node).phase("Running").ready_for(1000).pod();
        let pods = vec![on("a", "n1"), on("b", "n2"), on("c", "n2")];
        let related = [pods.clone(), vec![on("x", "n1"), on("y", "n1")]].concat();
        assert_eq!(names(pods, &related)[0], "a");
    }

    #[test]
    fn ages_of_one_magnitude_are_one_age() {
        let aged = |name: &str, age: i64| Sketch::new(name).node("n1").phase("Running").ready_for(age).pod();
        // 1000 and 1050 seconds share a power of two: the uid, here the name, decides.
        assert_eq!(names(vec![aged("b", 1000), aged("a", 1050)], &[]), ["a", "b"]);
        assert_eq!(names(vec![aged("b", 10), aged("a", 1050)], &[]), ["b", "a"]);
    }

    #[test]
    fn the_order_is_total_over_every_mixture() {
        let mut mixture = Vec::new();
        for age in [900, 1000, 1050, 1100, 2000] {
            for restarts in [0, 1, 2] {
                for uid in ["a", "b", "c"] {
                    let name = format!("{uid}{age}{restarts}");
                    let running = Sketch::new(&name).node("n1").phase("Running");
                    mixture.push(running.ready_for(age).restarts(restarts).age(2050 - age).pod());
                }
            }
        }
        let compare = |a: &Pod, b: &Pod| order(a, b, &Colocated::new(), now());
        for a in &mixture {
            for b in &mixture {
                assert_eq!(compare(a, b), compare(b, a).reverse());
                for c in &mixture {
                    if compare(a, b).is_lt() && compare(b, c).is_lt() {
                        assert!(compare(a, c).is_lt(), "{a:?} {b:?} {c:?}");
                    }
                }
            }
        }
    }
}
