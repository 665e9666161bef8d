use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::super::backoff::Backoff;
use super::super::fixtures::*;
use super::super::memory::{ImageState, Memory, Operation, PodVerdict, PreviousInstance, Reason, Verdict};
use super::super::observation::{ContainerState, Observation};
use super::{Action, plan};

/// The actions at second 100, as short words.
fn words(pod: &Pod, seen: &Observation, memory: &Memory) -> Vec<String> {
    plan(pod, seen, memory, at(100)).actions.iter().map(describe).collect()
}

fn describe(action: &Action) -> String {
    match action {
        Action::Prepare => "prepare".to_owned(),
        Action::MountVolumes => "mount".to_owned(),
        Action::CreateSandbox { attempt } => format!("sandbox {attempt}"),
        Action::StopSandbox { id } => format!("stop sandbox {}", id.as_deref().unwrap_or("-")),
        Action::RemoveSandbox { id } => format!("remove sandbox {id}"),
        Action::EnsureImage { container } => format!("image {container}"),
        Action::StartContainer { container, attempt, crash } => {
            let delay = crash.map(|crash| format!(" backoff {}", crash.delay.as_secs())).unwrap_or_default();
            format!("start {container} {attempt}{delay}")
        }
        Action::PostStart { container, .. } => format!("hook {container}"),
        Action::StopContainer { id, deadline, .. } => {
            format!("stop {id} by {}", deadline.duration_since(at(0)).as_secs())
        }
        Action::RemoveContainer { id } => format!("remove {id}"),
        Action::CleanUp => "clean up".to_owned(),
        Action::Delete => "delete".to_owned(),
    }
}

#[test]
fn a_new_pod_is_brought_up_side_by_side() {
    let pod = simple("Always");
    let nothing = Observation::default();
    let up = seen(&[sandbox(0, true)], &[]);
    let mut memory = Memory::default();
    assert_eq!(words(&pod, &nothing, &memory), ["prepare"]);
    memory.prepared = true;
    assert_eq!(words(&pod, &nothing, &memory), ["mount", "sandbox 0", "image a"]);
    memory.running.extend([Operation::MountVolumes, Operation::CreateSandbox, Operation::EnsureImage("a".to_owned())]);
    assert!(words(&pod, &nothing, &memory).is_empty(), "what is under way is not begun twice");
    let mut memory = prepared(&["a"]);
    assert_eq!(words(&pod, &up, &memory), ["start a 0"]);
    memory.volumes_ready = false;
    assert_eq!(words(&pod, &up, &memory), ["mount"], "a container waits for its volumes");
    assert!(words(&pod, &seen(&[sandbox(0, true)], &[running("a", 0)]), &prepared(&[])).is_empty());
}

#[test]
fn init_containers_run_in_order_and_before_the_others() {
    let pod = pod(json!({"restartPolicy": "Always", "containers": [{"name": "a", "image": "img"}],
        "initContainers": [{"name": "i", "image": "img"}, {"name": "s", "image": "img", "restartPolicy": "Always"},
            {"name": "j", "image": "img"}]}));
    let all = ["i", "s", "j", "a"];
    let step = |containers: &[_]| {
        let mut memory = prepared(&all);
        probed(&mut memory, "s", "s0", true, true);
        words(&pod, &seen(&[sandbox(0, true)], containers), &memory)
    };
    assert_eq!(step(&[]), ["start i 0"]);
    assert!(step(&[running("i", 0)]).is_empty());
    assert_eq!(step(&[exited("i", 0, 0, 50)]), ["start s 0"]);
    assert_eq!(step(&[exited("i", 0, 0, 50), running("s", 0)]), ["start j 0"]);
    assert_eq!(step(&[exited("i", 0, 0, 50), running("s", 0), exited("j", 0, 0, 60)]), ["start a 0"]);
    let up = [exited("i", 0, 0, 50), running("s", 0), exited("j", 0, 0, 60), running("a", 0)];
    assert!(step(&up).is_empty());
    let without_sidecar = [exited("i", 0, 0, 50), exited("s", 0, 1, 60), exited("j", 0, 0, 60), running("a", 0)];
    assert_eq!(step(&without_sidecar), ["start s 1 backoff 10"]);
}

#[test]
fn a_sidecar_holds_the_next_back_until_it_has_started() {
    let pod = pod(json!({"containers": [{"name": "a", "image": "img"}],
        "initContainers": [{"name": "s", "image": "img", "restartPolicy": "Always"}]}));
    let mut memory = prepared(&["a"]);
    probed(&mut memory, "s", "s0", false, false);
    let seen = seen(&[sandbox(0, true)], &[running("s", 0)]);
    assert!(words(&pod, &seen, &memory).is_empty());
    probed(&mut memory, "s", "s0", true, false);
    assert_eq!(words(&pod, &seen, &memory), ["start a 0"]);
}

#[test]
fn ended_containers_are_restarted_as_the_policy_says() {
    let table: [(&str, i32, &[&str]); 6] = [
        ("Always", 0, &["start a 1 backoff 10"]),
        ("Always", 1, &["start a 1 backoff 10"]),
        ("OnFailure", 1, &["start a 1 backoff 10"]),
        ("OnFailure", 0, &["stop sandbox s0"]),
        ("Never", 1, &["stop sandbox s0"]),
        ("Never", 0, &["stop sandbox s0"]),
    ];
    for (policy, code, want) in table {
        let seen = seen(&[sandbox(0, true)], &[exited("a", 0, code, 90)]);
        assert_eq!(words(&simple(policy), &seen, &prepared(&["a"])), want, "{policy} {code}");
    }
    let rules = pod(json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "img",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]}]}));
    for (code, want) in [(42, "start a 1 backoff 10"), (1, "stop sandbox s0")] {
        let seen = seen(&[sandbox(0, true)], &[exited("a", 0, code, 90)]);
        assert_eq!(words(&rules, &seen, &prepared(&["a"])), [want], "exit code {code}");
    }
}

#[test]
fn a_crash_loop_waits_longer_each_time() {
    let pod = simple("Always");
    let mut memory = prepared(&["a"]);
    let crash = |seconds, since| Some(Backoff { delay: SignedDuration::from_secs(seconds), since: at(since) });
    memory.container_mut("a").crash = crash(20, 80);
    let crashed = seen(&[sandbox(0, true)], &[exited("a", 2, 1, 90)]);
    let waiting = plan(&pod, &crashed, &memory, at(100));
    assert!(waiting.actions.is_empty());
    assert_eq!(waiting.wake_at, Some(at(110)));
    let text = "back-off 20s restarting failed container=a pod=web_shop(u-1)";
    assert_eq!(waiting.held_back.get("a"), Some(&Reason::new("CrashLoopBackOff", text)));
    let due = plan(&pod, &crashed, &memory, at(111));
    assert_eq!(due.actions.iter().map(describe).collect::<Vec<_>>(), ["start a 3 backoff 40"]);
    memory.container_mut("a").crash = crash(300, -2000);
    let quiet = plan(&pod, &crashed, &memory, at(111));
    assert_eq!(
        quiet.actions.iter().map(describe).collect::<Vec<_>>(),
        ["start a 3 backoff 10"],
        "a quiet time forgets"
    );
}

#[test]
fn an_image_that_failed_waits_or_is_given_up() {
    let pod = simple("Always");
    let up = seen(&[sandbox(0, true)], &[]);
    let failed = |since, retry| {
        let mut memory = prepared(&[]);
        let backoff = Backoff { delay: SignedDuration::from_secs(10), since: at(since) };
        let state = ImageState::Failed { reason: Reason::new("ErrImagePull", "x"), backoff, retry };
        memory.images.insert("a".to_owned(), state);
        memory
    };
    assert_eq!(plan(&pod, &up, &failed(95, true), at(100)).wake_at, Some(at(105)));
    assert_eq!(words(&pod, &up, &failed(80, true)), ["image a"]);
    assert!(words(&pod, &up, &failed(80, false)).is_empty());
}

#[test]
fn a_dead_sandbox_takes_its_containers_with_it() {
    let pod = simple("Always");
    let memory = prepared(&["a"]);
    let alone = seen(&[sandbox(0, false)], &[running("a", 0)]);
    assert_eq!(words(&pod, &alone, &memory), ["stop a0 by 130"]);
    let ended = seen(&[sandbox(0, false)], &[exited("a", 0, 137, 99)]);
    assert!(words(&pod, &ended, &memory).contains(&"sandbox 1".to_owned()));
    let replaced = seen(&[sandbox(0, false), sandbox(1, true)], &[exited("a", 0, 137, 99)]);
    assert_eq!(words(&pod, &replaced, &memory), ["remove sandbox s0", "start a 1"]);
}

#[test]
fn only_the_last_two_instances_are_kept() {
    let seen = seen(&[sandbox(0, true)], &[exited("a", 0, 1, 10), exited("a", 1, 1, 20), running("a", 2)]);
    assert_eq!(words(&simple("Always"), &seen, &prepared(&[])), ["remove a0"]);
}

#[test]
fn a_condemned_or_changed_container_is_stopped() {
    let pod = simple("Always");
    let up = seen(&[sandbox(0, true)], &[running("a", 0)]);
    let mut memory = prepared(&[]);
    let verdict = |id: &str, grace| Verdict { container_id: id.to_owned(), message: "m".to_owned(), grace };
    memory.condemned.insert("a".to_owned(), verdict("a0", Some(5)));
    assert_eq!(words(&pod, &up, &memory), ["stop a0 by 105"]);
    memory.condemned.insert("a".to_owned(), verdict("older", None));
    assert!(words(&pod, &up, &memory).is_empty(), "a verdict is on one instance");
    let mut changed = pod.clone();
    changed.spec.as_mut().expect("a spec").containers[0].image = Some("other".to_owned());
    assert_eq!(words(&changed, &up, &prepared(&[])), ["stop a0 by 130"]);
}

#[test]
fn a_hook_runs_once_for_each_instance() {
    let pod = pod(
        json!({"containers": [{"name": "a", "image": "img", "lifecycle": {"postStart": {"sleep": {"seconds": 1}}}}]}),
    );
    let up = seen(&[sandbox(0, true)], &[running("a", 0)]);
    let mut memory = prepared(&[]);
    assert_eq!(words(&pod, &up, &memory), ["hook a"]);
    memory.running.insert(Operation::PostStart("a".to_owned()));
    assert!(words(&pod, &up, &memory).is_empty());
    memory.running.clear();
    probed(&mut memory, "a", "a0", true, true);
    assert!(words(&pod, &up, &memory).is_empty());
}

#[test]
fn a_start_that_was_cut_short_is_repeated() {
    let seen = seen(&[sandbox(0, true)], &[container("a", 3, ContainerState::Created)]);
    assert_eq!(words(&simple("Always"), &seen, &prepared(&["a"])), ["start a 3"]);
}

#[test]
fn restarts_are_counted_on_when_the_instance_is_gone() {
    let mut memory = prepared(&["a"]);
    memory.container_mut("a").restart_count = 4;
    memory.container_mut("a").last = Some(PreviousInstance { id: "a4".to_owned(), exit: exit(1, 20) });
    assert_eq!(words(&simple("Always"), &seen(&[sandbox(0, true)], &[]), &memory), ["start a 5"]);
}

#[test]
fn a_deleted_pod_ends_step_by_step() {
    let pod = deleted(simple("Always"), 20);
    let mut memory = prepared(&[]);
    memory.ending_since = Some(at(90));
    let up = seen(&[sandbox(0, true)], &[running("a", 0)]);
    assert_eq!(words(&pod, &up, &memory), ["stop a0 by 110"]);
    memory.stopping.insert("a".to_owned(), at(110));
    memory.running.insert(Operation::StopContainer("a".to_owned()));
    assert!(words(&pod, &up, &memory).is_empty());
    let hurried = deleted(pod.clone(), 0);
    assert_eq!(words(&hurried, &up, &memory), ["stop a0 by 91"], "a shorter grace overtakes");
    memory.running.clear();
    memory.stopping.clear();
    let quiet = seen(&[sandbox(0, true)], &[exited("a", 0, 0, 99)]);
    assert_eq!(words(&pod, &quiet, &memory), ["stop sandbox s0"]);
    memory.durable.sandbox_released = true;
    assert_eq!(words(&pod, &quiet, &memory), ["clean up"]);
    memory.cleaned = true;
    assert_eq!(words(&pod, &Observation::default(), &memory), ["delete"]);
    memory.deleted = true;
    assert!(words(&pod, &Observation::default(), &memory).is_empty());
}

#[test]
fn the_end_waits_for_what_is_being_made() {
    let pod = deleted(simple("Always"), 20);
    for operation in [Operation::CreateSandbox, Operation::StartContainer("a".to_owned())] {
        let mut memory = prepared(&["a"]);
        memory.running.insert(operation.clone());
        assert!(words(&pod, &seen(&[sandbox(0, true)], &[]), &memory).is_empty(), "{operation:?}");
    }
    assert_eq!(words(&pod, &Observation::default(), &Memory::default()), ["stop sandbox -"]);
}

#[test]
fn sidecars_end_last_and_in_reverse() {
    let pod = deleted(
        pod(json!({"containers": [{"name": "a", "image": "img"}], "initContainers": [
            {"name": "s", "image": "img", "restartPolicy": "Always"}, {"name": "t", "image": "img", "restartPolicy": "Always"}]})),
        10,
    );
    let memory = prepared(&[]);
    let step = |containers: &[_]| words(&pod, &seen(&[sandbox(0, true)], containers), &memory);
    assert_eq!(step(&[running("s", 0), running("t", 0), running("a", 0)]), ["stop a0 by 110"]);
    assert_eq!(step(&[running("s", 0), running("t", 0), exited("a", 0, 0, 99)]), ["stop t0 by 110"]);
    assert_eq!(step(&[running("s", 0), exited("t", 0, 0, 99), exited("a", 0, 0, 99)]), ["stop s0 by 110"]);
}

#[test]
fn a_pod_past_its_deadline_ends_and_keeps_its_logs() {
    let mut memory = prepared(&[]);
    memory.durable.verdict = Some(PodVerdict { reason: "DeadlineExceeded".into(), message: "m".into(), grace: None });
    let quiet = seen(&[sandbox(0, true)], &[exited("a", 0, 137, 99)]);
    assert_eq!(words(&simple("Never"), &quiet, &memory), ["stop sandbox s0"]);
    memory.durable.sandbox_released = true;
    assert!(words(&simple("Never"), &quiet, &memory).is_empty());
    assert_eq!(words(&deleted(simple("Never"), 1), &quiet, &memory), ["clean up"]);
}

#[test]
fn what_failed_is_tried_again_later() {
    let mut memory = Memory { prepared: true, volumes_ready: true, ..prepared(&["a"]) };
    memory.retry_later(Operation::CreateSandbox, at(99), super::super::backoff::SYNC);
    memory.retry_later(Operation::CreateSandbox, at(99), super::super::backoff::SYNC);
    let held = plan(&simple("Always"), &Observation::default(), &memory, at(100));
    assert!(held.actions.is_empty());
    assert_eq!(held.wake_at, Some(at(101)));
}
