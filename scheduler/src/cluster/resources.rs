//! Amounts of resources, and what a pod asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;
use keelson_objects::quantity::Quantity;

use super::{Container, PodSpec};

/// What a container without a request counts as in scores, so that many of them spread.
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY: i64 = 200 * 1024 * 1024;

/// Amounts in the units of upstream's scheduler: thousandths of a CPU, bytes, and whole units of all else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: i64,
    pub memory: i64,
    pub ephemeral_storage: i64,
    /// The pods that fit; only of nodes.
    pub pods: i64,
    pub scalars: BTreeMap<String, i64>,
}

type Amounts = BTreeMap<String, WireQuantity>;

impl Resources {
    /// Unreadable amounts count as nothing: the API server lets none in.
    pub fn of(amounts: Option<&Amounts>) -> Resources {
        let mut resources = Resources::default();
        for (name, amount) in amounts.into_iter().flatten() {
            let amount: Quantity = amount.0.parse().unwrap_or_default();
            match name.as_str() {
                "cpu" => resources.milli_cpu = amount.milli_value(),
                "memory" => resources.memory = amount.value(),
                "ephemeral-storage" => resources.ephemeral_storage = amount.value(),
                "pods" => resources.pods = amount.value(),
                other => {
                    resources.scalars.insert(other.to_owned(), amount.value());
                }
            }
        }
        resources
    }

    pub fn add(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_add);
    }

    pub fn subtract(&mut self, other: &Resources) {
        self.combine(other, i64::saturating_sub);
    }

    /// The greater of each.
    fn raise_to(&mut self, other: &Resources) {
        self.combine(other, i64::max);
    }

    fn combine(&mut self, other: &Resources, with: fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalars {
            let present = self.scalars.entry(name.clone()).or_default();
            *present = with(*present, *amount);
        }
    }

    pub fn asks_for_nothing(&self) -> bool {
        self.milli_cpu == 0
            && self.memory == 0
            && self.ephemeral_storage == 0
            && self.scalars.values().all(|amount| *amount == 0)
    }
}

/// What containers ask for; `floor` raises what they do not ask for to what scores count.
fn container(resources: Option<&ResourceRequirements>, floor: bool) -> Resources {
    let requests = resources.and_then(|resources| resources.requests.as_ref());
    let mut asked = Resources::of(requests);
    if floor {
        let asks = |name: &str| requests.is_some_and(|requests| requests.contains_key(name));
        if !asks("cpu") {
            asked.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !asks("memory") {
            asked.memory = DEFAULT_MEMORY;
        }
    }
    asked
}

/// What the pod needs at its greediest moment: all containers and sidecars together, or one init container beside the
/// sidecars before it; and the runtime's overhead (KEP-753, KEP-688). Requests of the pod as a whole count instead of
/// its containers' (KEP-2837).
pub fn pod_requests(spec: &PodSpec, floor: bool) -> Resources {
    let of = |item: &Container| container(item.resources.as_ref(), floor);
    let mut running = Resources::default();
    for item in &spec.containers {
        running.add(&of(item));
    }
    let mut sidecars = Resources::default();
    let mut starting = Resources::default();
    for item in spec.init_containers.iter().flatten() {
        let mut moment = of(item);
        if item.restart_policy.as_deref() == Some("Always") {
            running.add(&moment);
            sidecars.add(&moment);
            moment = sidecars.clone();
        } else {
            moment.add(&sidecars);
        }
        starting.raise_to(&moment);
    }
    running.raise_to(&starting);
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    for (name, amount) in Resources::of(whole)
        .named()
        .into_iter()
        .filter(|(name, _)| whole.is_some_and(|whole| whole.contains_key(*name)))
    {
        match name {
            "cpu" => running.milli_cpu = amount,
            "memory" => running.memory = amount,
            other => {
                running.scalars.insert(other.to_owned(), amount);
            }
        }
    }
    running.add(&Resources::of(spec.overhead.as_ref()));
    running
}

impl Resources {
    fn named(&self) -> Vec<(&str, i64)> {
        let mut named = vec![("cpu", self.milli_cpu), ("memory", self.memory)];
        named.extend(self.scalars.iter().map(|(name, amount)| (name.as_str(), *amount)));
        named
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn requests(spec: serde_json::Value) -> (i64, i64) {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let requests = pod_requests(&spec, false);
        (requests.milli_cpu, requests.memory)
    }

    #[test]
    fn a_pods_greediest_moment_counts() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let table = [
            (
                json!({"containers": [{"name": "a", "resources": asks("1")}, {"name": "b", "resources": asks("500m")}]}),
                1500,
            ),
            (
                json!({"containers": [{"name": "a", "resources": asks("1")}], "initContainers": [{"name": "i", "resources": asks("3")}]}),
                3000,
            ),
            (
                json!({"containers": [{"name": "a", "resources": asks("1")}], "initContainers": [
                    {"name": "s", "restartPolicy": "Always", "resources": asks("1")}, {"name": "i", "resources": asks("2")}]}),
                3000,
            ),
            (json!({"containers": [{"name": "a", "resources": asks("1")}], "overhead": {"cpu": "250m"}}), 1250),
            (json!({"containers": [{"name": "a", "resources": asks("1")}], "resources": asks("4")}), 4000),
        ];
        for (spec, milli_cpu) in table {
            assert_eq!(requests(spec.clone()).0, milli_cpu, "{spec}");
        }
    }

    #[test]
    fn what_is_not_asked_for_counts_in_scores() {
        let spec: PodSpec = serde_json::from_value(json!({"containers": [{"name": "a"}, {"name": "b"}]})).unwrap();
        let requests = pod_requests(&spec, true);
        assert_eq!((requests.milli_cpu, requests.memory), (200, 2 * DEFAULT_MEMORY));
    }
}
