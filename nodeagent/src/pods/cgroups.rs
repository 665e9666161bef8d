//! Requests and limits as cgroup settings, and the cgroup that a pod lives in.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};

use super::qos::{self, Class};
use super::spec::{self, Role};
use crate::resources::{quantity_milli, quantity_value};
use crate::runtime::Resources;

const PERIOD: i64 = 100_000;
const MIN_QUOTA: i64 = 1000;
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// `<root>/kubepods/burstable/pod<uid>` and the like.
pub fn parent(root: &str, pod: &Pod) -> String {
    let root = root.trim_end_matches('/');
    let class = match qos::class(pod) {
        Class::Guaranteed => "",
        Class::Burstable => "/burstable",
        Class::BestEffort => "/besteffort",
    };
    format!("{root}/kubepods{class}/pod{}", spec::uid(pod))
}

/// The settings of one container.
pub fn of_container(container: &Container) -> Resources {
    let amounts = Amounts::of(container.resources.as_ref());
    settings(amounts.cpu_request, amounts.cpu_limit, amounts.memory_limit)
}

/// The settings of the pod as a whole: limits only where every container has one.
pub fn of_pod(pod: &Pod) -> Resources {
    if let Some(resources) = spec::spec(pod).resources.as_ref() {
        let amounts = Amounts::of(Some(resources));
        return settings(amounts.cpu_request, amounts.cpu_limit, amounts.memory_limit);
    }
    let mut cpu_request = 0;
    let mut cpu_limit = Some(0);
    let mut memory_limit = Some(0);
    let mut before = Amounts::default();
    for (container, role) in spec::all_containers(pod) {
        let amounts = Amounts::of(container.resources.as_ref());
        if role == Role::Init {
            // Init containers run alone: the largest of them counts, not their sum.
            before.cpu_request = before.cpu_request.max(amounts.cpu_request);
            before.cpu_limit = before.cpu_limit.max(amounts.cpu_limit);
            before.memory_limit = before.memory_limit.max(amounts.memory_limit);
            continue;
        }
        cpu_request += amounts.cpu_request;
        cpu_limit = cpu_limit.zip(amounts.cpu_limit).map(|(sum, limit)| sum + limit);
        memory_limit = memory_limit.zip(amounts.memory_limit).map(|(sum, limit)| sum + limit);
    }
    settings(
        cpu_request.max(before.cpu_request),
        cpu_limit.map(|limit| limit.max(before.cpu_limit.unwrap_or(0))),
        memory_limit.map(|limit| limit.max(before.memory_limit.unwrap_or(0))),
    )
}

#[derive(Default)]
struct Amounts {
    /// Thousandths of a CPU; a limit without a request is the request.
    cpu_request: i64,
    cpu_limit: Option<i64>,
    /// Bytes.
    memory_limit: Option<i64>,
}

impl Amounts {
    fn of(resources: Option<&ResourceRequirements>) -> Amounts {
        let Some(resources) = resources else { return Amounts::default() };
        let limit = |name: &str| resources.limits.as_ref().and_then(|limits| limits.get(name));
        let request = resources.requests.as_ref().and_then(|requests| requests.get("cpu"));
        Amounts {
            cpu_request: request.or(limit("cpu")).map_or(0, quantity_milli),
            cpu_limit: limit("cpu").map(quantity_milli).filter(|limit| *limit > 0),
            memory_limit: limit("memory").map(quantity_value).filter(|limit| *limit > 0),
        }
    }
}

fn settings(cpu_request: i64, cpu_limit: Option<i64>, memory_limit: Option<i64>) -> Resources {
    let shares = (cpu_request.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES);
    Resources {
        cpu_shares: u64::try_from(shares).ok(),
        cpu_quota: cpu_limit.map(|limit| (limit.saturating_mul(PERIOD) / 1000).max(MIN_QUOTA)),
        cpu_period: cpu_limit.and_then(|_| u64::try_from(PERIOD).ok()),
        memory_limit,
        ..Resources::default()
    }
}

/// How readily the kernel kills a container for memory, as upstream grades it.
pub fn oom_score_adj(pod: &Pod, container: &Container, memory_capacity: i64) -> i64 {
    match qos::class(pod) {
        Class::Guaranteed => -997,
        Class::BestEffort => 1000,
        Class::Burstable => {
            let resources = container.resources.as_ref();
            let request = resources.and_then(|resources| resources.requests.as_ref()).and_then(|r| r.get("memory"));
            let request = request.map_or(0, quantity_value);
            let share = i128::from(request) * 1000 / i128::from(memory_capacity.max(1));
            let score = 1000 - i64::try_from(share).unwrap_or(1000);
            score.clamp(3, 999)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(containers: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"uid": "u"}, "spec": {"containers": containers}})).expect("a pod")
    }

    #[test]
    fn quantities_become_settings() {
        let limited = json!({"name": "a", "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}});
        let one = pod(json!([limited]));
        let settings = of_container(&spec::app_containers(&one)[0]);
        assert_eq!(
            (settings.cpu_shares, settings.cpu_quota, settings.memory_limit),
            (Some(256), Some(50_000), Some(64 << 20))
        );
        let two = pod(json!([limited, {"name": "b"}]));
        let settings = of_pod(&two);
        assert_eq!((settings.cpu_shares, settings.cpu_quota, settings.memory_limit), (Some(256), None, None));
        assert_eq!(of_container(&spec::app_containers(&two)[1]).cpu_shares, Some(2));
    }

    #[test]
    fn the_class_places_the_pod() {
        assert_eq!(parent("/keelson/n1", &pod(json!([{"name": "a"}]))), "/keelson/n1/kubepods/besteffort/podu");
        let fixed = pod(json!([{"name": "a", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]));
        assert_eq!(parent("/", &fixed), "/kubepods/podu");
        assert_eq!(oom_score_adj(&fixed, &spec::app_containers(&fixed)[0], 8 << 30), -997);
        let burst = pod(json!([{"name": "a", "resources": {"requests": {"memory": "4Gi"}}}]));
        assert_eq!(oom_score_adj(&burst, &spec::app_containers(&burst)[0], 8 << 30), 500);
    }
}
