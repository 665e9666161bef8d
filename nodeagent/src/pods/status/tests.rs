use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use serde_json::json;

use super::super::fixtures::*;
use super::super::memory::{Memory, PodVerdict, PreviousInstance, Reason};
use super::super::observation::Observation;
use super::{Inputs, compute};

fn status(pod: &Pod, seen: &Observation, memory: &Memory) -> PodStatus {
    status_held(pod, seen, memory, &BTreeMap::new())
}

fn status_held(pod: &Pod, seen: &Observation, memory: &Memory, held_back: &BTreeMap<String, Reason>) -> PodStatus {
    let host_ips = ["192.0.2.1".parse().expect("an address")];
    let previous = PodStatus::default();
    compute(Inputs { pod, seen, memory, held_back, previous: &previous, host_ips: &host_ips, now: at(100) })
}

/// `state(reason) ready started restarts`
fn short(status: &ContainerStatus) -> String {
    let state = status.state.clone().unwrap_or_default();
    let state = match (state.waiting, state.running, state.terminated) {
        (Some(waiting), _, _) => format!("waiting({})", waiting.reason.unwrap_or_default()),
        (_, Some(_), _) => "running".to_owned(),
        (_, _, Some(ended)) => format!("terminated({} {})", ended.reason.unwrap_or_default(), ended.exit_code),
        _ => "nothing".to_owned(),
    };
    let started = status.started.unwrap_or(false);
    format!("{state} ready={} started={started} restarts={}", status.ready, status.restart_count)
}

fn containers(status: &PodStatus) -> Vec<String> {
    let init = status.init_container_statuses.iter().flatten();
    init.chain(status.container_statuses.iter().flatten()).map(short).collect()
}

fn condition(status: &PodStatus, kind: &str) -> String {
    let all = status.conditions.iter().flatten();
    all.filter(|condition| condition.type_ == kind)
        .map(|condition| {
            let reason = condition.reason.clone().unwrap_or_default();
            format!("{} {reason} {}", condition.status, condition.message.clone().unwrap_or_default())
        })
        .collect::<String>()
        .trim_end()
        .to_owned()
}

fn phase(status: &PodStatus) -> &str {
    status.phase.as_deref().unwrap_or_default()
}

#[test]
fn a_pod_comes_up() {
    let pod = simple("Always");
    let new = status(&pod, &Observation::default(), &Memory::default());
    assert_eq!(phase(&new), "Pending");
    assert_eq!(containers(&new), ["waiting(ContainerCreating) ready=false started=false restarts=0"]);
    assert_eq!(condition(&new, "PodReadyToStartContainers"), "False");
    assert_eq!(condition(&new, "Initialized"), "True");
    assert_eq!(condition(&new, "Ready"), "False ContainersNotReady containers with unready status: [a]");
    assert_eq!(new.pod_ip, None);
    assert_eq!(new.host_ip.as_deref(), Some("192.0.2.1"));

    let mut memory = prepared(&[]);
    let up = seen(&[sandbox(0, true)], &[running("a", 0)]);
    probed(&mut memory, "a", "a0", true, true);
    let up = status(&pod, &up, &memory);
    assert_eq!(phase(&up), "Running");
    assert_eq!(containers(&up), ["running ready=true started=true restarts=0"]);
    for kind in ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"] {
        assert_eq!(condition(&up, kind), "True", "{kind}");
    }
    assert_eq!(up.pod_ip.as_deref(), Some("10.244.0.5"));
    let container = &up.container_statuses.as_ref().expect("statuses")[0];
    assert_eq!(container.container_id.as_deref(), Some("containerd://a0"));
    assert_eq!(container.image, "docker.io/library/img:latest");
}

#[test]
fn init_containers_show_first() {
    let pod = pod(json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "image": "img"}],
        "containers": [{"name": "a", "image": "img"}]}));
    let memory = prepared(&[]);
    let initializing = status(&pod, &seen(&[sandbox(0, true)], &[running("i", 0)]), &memory);
    assert_eq!(phase(&initializing), "Pending");
    let want = [
        "running ready=false started=false restarts=0",
        "waiting(PodInitializing) ready=false started=false restarts=0",
    ];
    assert_eq!(containers(&initializing), want);
    let text = "False ContainersNotInitialized containers with incomplete status: [i]";
    assert_eq!(condition(&initializing, "Initialized"), text);

    let failed = status(&pod, &seen(&[sandbox(0, true)], &[exited("i", 0, 1, 50)]), &memory);
    assert_eq!(phase(&failed), "Failed");
    assert_eq!(condition(&failed, "Ready"), "False PodFailed");
    let done = status(&pod, &seen(&[sandbox(0, true)], &[exited("i", 0, 0, 50)]), &memory);
    assert_eq!(phase(&done), "Pending");
    assert_eq!(containers(&done)[0], "terminated(Completed 0) ready=true started=false restarts=0");
}

#[test]
fn the_phase_follows_exits_and_policy() {
    let table = [
        ("Always", vec![0], "Running"),
        ("Always", vec![1], "Running"),
        ("OnFailure", vec![0], "Succeeded"),
        ("OnFailure", vec![1], "Running"),
        ("Never", vec![0], "Succeeded"),
        ("Never", vec![1], "Failed"),
        ("Never", vec![0, 1], "Failed"),
        ("OnFailure", vec![0, 1], "Running"),
    ];
    for (policy, codes, want) in table {
        let names = ["a", "b"];
        let specs: Vec<_> = codes.iter().zip(names).map(|(_, name)| json!({"name": name, "image": "img"})).collect();
        let ended: Vec<_> = codes.iter().zip(names).map(|(code, name)| exited(name, 0, *code, 50)).collect();
        let pod = pod(json!({"restartPolicy": policy, "containers": specs}));
        let status = status(&pod, &seen(&[sandbox(0, true)], &ended), &prepared(&[]));
        assert_eq!(phase(&status), want, "{policy} {codes:?}");
    }
}

#[test]
fn a_crash_loop_shows_the_wait_and_the_last_end() {
    let pod = simple("Always");
    let crashed = seen(&[sandbox(0, true)], &[exited("a", 2, 1, 90)]);
    let held = BTreeMap::from([("a".to_owned(), Reason::new("CrashLoopBackOff", "back-off"))]);
    let status = status_held(&pod, &crashed, &prepared(&[]), &held);
    assert_eq!(phase(&status), "Running");
    assert_eq!(containers(&status), ["waiting(CrashLoopBackOff) ready=false started=false restarts=2"]);
    let last = status.container_statuses.expect("statuses")[0].last_state.clone();
    assert_eq!(last.and_then(|last| last.terminated).map(|ended| ended.exit_code), Some(1));
}

#[test]
fn a_restarted_container_remembers_its_last_end() {
    let mut memory = prepared(&[]);
    memory.container_mut("a").last = Some(PreviousInstance { id: "a0".to_owned(), exit: exit(137, 40) });
    probed(&mut memory, "a", "a1", true, false);
    let status = status(&simple("Always"), &seen(&[sandbox(0, true)], &[running("a", 1)]), &memory);
    assert_eq!(containers(&status), ["running ready=false started=true restarts=1"]);
    let last = status.container_statuses.expect("statuses")[0].last_state.clone();
    assert_eq!(last.and_then(|last| last.terminated).map(|ended| ended.exit_code), Some(137));
}

#[test]
fn what_keeps_a_container_from_starting_is_shown() {
    let mut memory = prepared(&[]);
    memory.start_failures.insert("a".to_owned(), Reason::new("CreateContainerConfigError", "secret \"x\" not found"));
    let status = status(&simple("Always"), &seen(&[sandbox(0, true)], &[]), &memory);
    assert_eq!(containers(&status), ["waiting(CreateContainerConfigError) ready=false started=false restarts=0"]);
    assert_eq!(phase(&status), "Pending");
}

#[test]
fn an_ended_pod_stays_ended() {
    let mut memory = prepared(&[]);
    let verdict = PodVerdict { reason: "DeadlineExceeded".into(), message: "too long".into(), grace: None };
    memory.durable.verdict = Some(verdict);
    let pod = simple("Always");
    let stopping = status(&pod, &seen(&[sandbox(0, true)], &[running("a", 0)]), &memory);
    assert_eq!(phase(&stopping), "Running");
    memory.durable.sandbox_released = true;
    let ended = status(&pod, &seen(&[sandbox(0, false)], &[exited("a", 0, 137, 99)]), &memory);
    assert_eq!((phase(&ended), ended.reason.as_deref()), ("Failed", Some("DeadlineExceeded")));
    let lost = status(&pod, &seen(&[sandbox(0, false)], &[]), &memory);
    assert_eq!(containers(&lost), ["terminated(ContainerStatusUnknown 137) ready=false started=false restarts=0"]);
}

#[test]
fn containers_whose_turn_never_came_are_not_reported_as_lost() {
    let two = json!([{"name": "i", "image": "img"}, {"name": "j", "image": "img"}]);
    let pod = deleted(pod(json!({"initContainers": two, "containers": [{"name": "a", "image": "img"}]})), 0);
    let mut memory = prepared(&[]);
    memory.durable.sandbox_released = true;
    let gone = [sandbox(0, false)];
    let waits = "waiting(PodInitializing) ready=false started=false restarts=0";
    let failed = status(&pod, &seen(&gone, &[exited("i", 0, 1, 99)]), &memory);
    let first = "terminated(Error 1) ready=false started=false restarts=0";
    assert_eq!((containers(&failed), phase(&failed)), (vec![first.to_owned(), waits.into(), waits.into()], "Failed"));
    // Of those that never began the first is, so that a reader sees that the pod did not end well.
    let lost = status(&pod, &seen(&gone, &[]), &memory);
    let unknown = "terminated(ContainerStatusUnknown 137) ready=false started=false restarts=0";
    assert_eq!((containers(&lost), phase(&lost)), (vec![unknown.to_owned(), waits.into(), waits.into()], "Failed"));
    let begun = status(&pod, &seen(&gone, &[exited("i", 0, 0, 98), exited("j", 0, 0, 99)]), &memory);
    assert_eq!(containers(&begun)[2], unknown);
}

#[test]
fn readiness_gates_and_foreign_conditions_are_respected() {
    let mut pod =
        pod(json!({"readinessGates": [{"conditionType": "lb"}], "containers": [{"name": "a", "image": "img"}]}));
    let mut memory = prepared(&[]);
    probed(&mut memory, "a", "a0", true, true);
    let up = seen(&[sandbox(0, true)], &[running("a", 0)]);
    let text = "False ReadinessGatesNotReady corresponding condition of pod readiness gate \"lb\" does not exist.";
    assert_eq!(condition(&status(&pod, &up, &memory), "Ready"), text);
    let conditions =
        json!({"conditions": [{"type": "lb", "status": "True"}, {"type": "PodScheduled", "status": "True"}]});
    pod.status = Some(serde_json::from_value(conditions).expect("a status"));
    let open = status(&pod, &up, &memory);
    assert_eq!(condition(&open, "Ready"), "True");
    assert_eq!(condition(&open, "PodScheduled"), "True");
}
