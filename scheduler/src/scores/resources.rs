//! Free nodes before full ones, and CPU and memory used up evenly.

use super::MAX;
use crate::cluster::{NodeInfo, PodInfo};

/// The mean free share of CPU and memory with the pod.
pub(super) fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let free = |asked: i64, taken: i64, all: i64| match all {
        0 => None,
        all if asked + taken > all => Some(0),
        all => Some((all - taken - asked) * MAX / all),
    };
    let (asked, taken, all) = (&pod.score_requests, &node.score_requested, &node.allocatable);
    let shares = [free(asked.milli_cpu, taken.milli_cpu, all.milli_cpu), free(asked.memory, taken.memory, all.memory)];
    let known: Vec<i64> = shares.into_iter().flatten().collect();
    known.iter().sum::<i64>() / i64::try_from(known.len().max(1)).unwrap_or(1)
}

/// How near the used shares of CPU and memory are to each other with the pod.
pub(super) fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let used = |asked: i64, taken: i64, all: i64| (all > 0).then(|| ((asked + taken) as f64 / all as f64).min(1.0));
    let (asked, taken, all) = (&pod.requests, &node.requested, &node.allocatable);
    let cpu = used(asked.milli_cpu, taken.milli_cpu, all.milli_cpu);
    let memory = used(asked.memory, taken.memory, all.memory);
    // The standard deviation of two shares is half their distance.
    let deviation = cpu.zip(memory).map_or(0.0, |(cpu, memory)| (cpu - memory).abs() / 2.0);
    ((1.0 - deviation) * MAX as f64) as i64
}
