//! The node's conditions, from what was found: pure.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NodeCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::pressure::Pressure;

/// What was found out about the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    pub pressure: Pressure,
    /// Why containers cannot be run.
    pub runtime: Result<(), String>,
    /// Why pods cannot have a network.
    pub network: Result<(), String>,
}

/// The conditions at `now`; one that did not change keeps its transition time from `previous`.
pub fn conditions(findings: &Findings, previous: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let Pressure { memory, disk, pids } = findings.pressure;
    let pressure = |short: bool, bad: (&str, &str), good: (&str, &str)| {
        let (reason, message) = if short { bad } else { good };
        (short, reason.to_owned(), message.to_owned())
    };
    let verdicts = [
        (
            "MemoryPressure",
            pressure(
                memory,
                ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
                ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ),
        ),
        (
            "DiskPressure",
            pressure(
                disk,
                ("KubeletHasDiskPressure", "kubelet has disk pressure"),
                ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ),
        ),
        (
            "PIDPressure",
            pressure(
                pids,
                ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
                ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ),
        ),
        ("Ready", ready(findings)),
    ];
    let conditions = verdicts.into_iter().map(|(kind, (holds, reason, message))| {
        let status = if holds { "True" } else { "False" };
        let known = previous.iter().find(|condition| condition.type_ == kind && condition.status == status);
        let since = known.and_then(|known| known.last_transition_time.clone());
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason),
            message: Some(message),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since.unwrap_or(Time(now))),
        }
    });
    conditions.collect()
}

fn ready(findings: &Findings) -> (bool, String, String) {
    let runtime = findings.runtime.as_ref().err().map(|reason| format!("container runtime is down: {reason}"));
    let network = findings.network.as_ref().err().map(|reason| {
        format!("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{reason}")
    });
    let problems: Vec<String> = runtime.into_iter().chain(network).collect();
    match problems.as_slice() {
        [] => (true, "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned()),
        [problem] => (false, "KubeletNotReady".to_owned(), problem.clone()),
        several => (false, "KubeletNotReady".to_owned(), format!("[{}]", several.join(", "))),
    }
}

/// True when two lists say the same at different times.
pub fn say_the_same(one: &[NodeCondition], other: &[NodeCondition]) -> bool {
    let words = |conditions: &[NodeCondition]| -> Vec<_> {
        conditions
            .iter()
            .map(|condition| {
                (condition.type_.clone(), condition.status.clone(), condition.reason.clone(), condition.message.clone())
            })
            .collect()
    };
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a timestamp")
    }

    #[test]
    fn ready_needs_runtime_and_network() {
        let well = Findings { pressure: Pressure::default(), runtime: Ok(()), network: Ok(()) };
        let no_network = Findings { network: Err("cni plugin not initialized".to_owned()), ..well.clone() };
        let nothing = Findings { runtime: Err("gone".to_owned()), ..no_network.clone() };
        let network_text = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni plugin not initialized";
        let table = [
            (&well, "True", "KubeletReady", "kubelet is posting ready status".to_owned()),
            (&no_network, "False", "KubeletNotReady", network_text.to_owned()),
            (&nothing, "False", "KubeletNotReady", format!("[container runtime is down: gone, {network_text}]")),
        ];
        for (findings, status, reason, message) in table {
            let conditions = conditions(findings, &[], at(1));
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready").expect("Ready");
            assert_eq!((ready.status.as_str(), ready.reason.as_deref()), (status, Some(reason)));
            assert_eq!(ready.message.as_deref(), Some(message.as_str()));
        }
    }

    #[test]
    fn transition_times_stay_until_the_status_changes() {
        let well = Findings { pressure: Pressure::default(), runtime: Ok(()), network: Ok(()) };
        let first = conditions(&well, &[], at(1));
        let second = conditions(&well, &first, at(2));
        assert!(second.iter().all(|condition| condition.last_transition_time == Some(Time(at(1)))));
        assert!(say_the_same(&first, &second));
        let short = Findings { pressure: Pressure { disk: true, ..Pressure::default() }, ..well };
        let third = conditions(&short, &second, at(3));
        let changed: Vec<&str> = third
            .iter()
            .filter(|condition| condition.last_transition_time == Some(Time(at(3))))
            .map(|condition| condition.type_.as_str())
            .collect();
        assert_eq!(changed, ["DiskPressure"]);
    }
}
