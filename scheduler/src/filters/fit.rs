//! The node must have free what the pod asks for.

use super::{Plugin, Rejection};
use crate::cluster::{NodeInfo, PodInfo};

pub(super) fn filter(pod: &PodInfo, node: &NodeInfo) -> Result<(), Rejection> {
    let mut reasons = Vec::new();
    let mut resolvable = true;
    let pods = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
    // A pod that is already counted here, as a nominated one is, does not stand in its own way.
    let others = pods - i64::from(node.pods.contains_key(&pod.key));
    if others + 1 > node.allocatable.pods {
        reasons.push("Too many pods".to_owned());
    }
    let mut check = |name: &str, asked: i64, allocatable: i64, taken: i64| {
        if asked > 0 && asked > allocatable - taken {
            reasons.push(format!("Insufficient {name}"));
            resolvable &= asked <= allocatable;
        }
    };
    let (asked, all, taken) = (&pod.requests, &node.allocatable, &node.requested);
    check("cpu", asked.milli_cpu, all.milli_cpu, taken.milli_cpu);
    check("memory", asked.memory, all.memory, taken.memory);
    check("ephemeral-storage", asked.ephemeral_storage, all.ephemeral_storage, taken.ephemeral_storage);
    for (name, asked) in &asked.scalars {
        let of = |resources: &crate::cluster::Resources| resources.scalars.get(name).copied().unwrap_or_default();
        check(name, *asked, of(all), of(taken));
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Rejection { plugin: Plugin::NodeResourcesFit, reasons, resolvable }),
    }
}
