//! Pods that are refused, and with which words.

use serde_json::{Value, json};

use super::defaults;
use super::strategy::validate_pod;
use super::update;
use crate::kinds::fields::Fields;
use crate::kinds::validation::Errors;

fn good() -> Value {
    let mut pod = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]},
    });
    defaults::of_pod(&mut pod);
    pod
}

fn texts(errors: Errors) -> Vec<String> {
    errors.into_vec().iter().map(ToString::to_string).collect()
}

fn errors_of(pod: &Value) -> Vec<String> {
    let mut errors = Errors::new();
    validate_pod(pod, &mut errors);
    texts(errors)
}

#[test]
fn a_plain_pod_is_accepted() {
    assert_eq!(errors_of(&good()), Vec::<String>::new());
}

#[test]
fn what_is_wrong_is_named() {
    type Change = fn(&mut Value);
    let table: Vec<(Change, &[&str])> = vec![
        (|spec| spec["containers"] = json!([]), &["spec.containers: Required value"]),
        (|spec| spec["containers"][0]["image"] = json!(""), &["spec.containers[0].image: Required value"]),
        (
            |spec| spec["containers"][0]["image"] = json!(" nginx"),
            &["spec.containers[0].image: Invalid value: \" nginx\": must not have leading or trailing whitespace"],
        ),
        (
            |spec| {
                let twin = spec["containers"][0].clone();
                spec["containers"].as_array_mut().unwrap().push(twin);
            },
            &["spec.containers[1].name: Duplicate value: \"web\""],
        ),
        (
            |spec| spec["containers"][0]["name"] = json!("a.b"),
            &["spec.containers[0].name: Invalid value: \"a.b\": must not contain dots"],
        ),
        (
            |spec| spec["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"data\""],
        ),
        (
            |spec| {
                spec["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}});
            },
            &[
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            |spec| spec["containers"][0]["resources"] = json!({"limits": {"gpu": "1"}, "requests": {"gpu": "1"}}),
            &[
                "spec.containers[0].resources.limits[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
                "spec.containers[0].resources.requests[gpu]: Invalid value: \"gpu\": must be a standard resource for containers",
            ],
        ),
        (
            |spec| spec["containers"][0]["ports"] = json!([{"containerPort": 99999, "protocol": "TCP"}]),
            &[
                "spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            |spec| spec["containers"][0]["env"] = json!([{"name": "A", "value": "x", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}]),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ],
        ),
        (
            |spec| {
                spec["containers"][0]["env"] =
                    json!([{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nope"}}}])
            },
            &[
                "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nope\": error converting fieldPath: field label not supported: spec.nope",
            ],
        ),
        (
            |spec| {
                spec["containers"][0]["livenessProbe"] = json!({"successThreshold": 2, "exec": {"command": ["true"]}})
            },
            &["spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1"],
        ),
        (
            |spec| spec["containers"][0]["readinessProbe"] = json!({}),
            &["spec.containers[0].readinessProbe: Required value: must specify a handler type"],
        ),
        (
            |spec| {
                spec["initContainers"] = json!([{"name": "web", "image": "x", "imagePullPolicy": "Always",
                "terminationMessagePolicy": "File", "lifecycle": {}}])
            },
            &[
                "spec.initContainers[0].name: Duplicate value: \"web\"",
                "spec.initContainers[0].lifecycle: Forbidden: may not be set for init containers without restartPolicy=Always",
            ],
        ),
        (
            |spec| spec["restartPolicy"] = json!("Sometimes"),
            &[
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
            ],
        ),
        (
            |spec| spec["dnsPolicy"] = json!("None"),
            &["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        ),
        (
            |spec| spec["tolerations"] = json!([{"operator": "Equal", "value": "x"}]),
            &[
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ],
        ),
        (
            |spec| spec["volumes"] = json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x", "type": ""}}]),
            &["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        ),
        (
            |spec| spec["volumes"] = json!([{"name": "v", "hostPath": {"path": "/a/../b", "type": "Nope"}}]),
            &[
                "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
                "spec.volumes[0].hostPath.type: Unsupported value: \"Nope\": supported values: \"\", \"BlockDevice\", \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            ],
        ),
        (
            |spec| spec["volumes"] = json!([{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 60}}]}}]),
            &[
                "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 60: may not specify a duration less than 10 minutes",
                "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
            ],
        ),
        (
            |spec| {
                spec["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}})
            },
            &[
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
            ],
        ),
        (
            |spec| {
                spec["topologySpreadConstraints"] =
                    json!([{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "DoNotSchedule"}])
            },
            &[
                "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
            ],
        ),
        (
            |spec| spec["securityContext"] = json!({"runAsUser": -1}),
            &["spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive"],
        ),
        (
            |spec| {
                spec["hostNetwork"] = json!(true);
                spec["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 81, "protocol": "TCP"}]);
            },
            &[
                "spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
            ],
        ),
        (
            |spec| spec["activeDeadlineSeconds"] = json!(0),
            &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
    ];
    for (change, expected) in table {
        let mut pod = good();
        change(&mut pod["spec"]);
        assert_eq!(errors_of(&pod), expected, "{}", pod["spec"]);
    }
}

fn update_errors(change: fn(&mut Value)) -> Vec<String> {
    let old = good();
    let mut new = old.clone();
    change(&mut new["spec"]);
    let mut errors = Errors::new();
    update::validate_spec(&new, &old, &mut errors);
    texts(errors)
}

#[test]
fn an_image_may_change_and_little_else() {
    assert!(update_errors(|spec| spec["containers"][0]["image"] = json!("nginx:1.28")).is_empty());
    assert!(update_errors(|spec| spec["activeDeadlineSeconds"] = json!(10)).is_empty());
    assert!(update_errors(|spec| spec["tolerations"] = json!([{"key": "a", "operator": "Exists"}])).is_empty());
    assert!(update_errors(|spec| spec["hostNetwork"] = json!(false)).is_empty(), "false and absent are the same");
    assert_eq!(
        update_errors(|spec| spec["containers"] = json!([])),
        ["spec.containers: Forbidden: pod updates may not add or remove containers"]
    );
    let texts = update_errors(|spec| spec["containers"][0]["name"] = json!("other"));
    assert_eq!(texts.len(), 1);
    assert!(
        texts[0]
            .starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`")
    );
    assert!(
        texts[0].contains("- spec.containers[0].name: \"web\"\n+ spec.containers[0].name: \"other\""),
        "{}",
        texts[0]
    );
}

#[test]
fn an_ended_container_does_not_come_back() {
    let state = |state: Value| json!({"spec": {"restartPolicy": "Never"}, "status": {"containerStatuses": [{"name": "web", "state": state}]}});
    let old = state(json!({"terminated": {"exitCode": 1}}));
    let mut errors = Errors::new();
    update::validate_status(&state(json!({"running": {}})), &old, &mut errors);
    assert_eq!(
        texts(errors),
        ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
    );
    let mut errors = Errors::new();
    update::validate_status(&old, &old, &mut errors);
    assert!(errors.is_empty());
}

#[test]
fn grace_ends_where_nothing_runs() {
    use super::strategy::PodStrategy;
    use crate::registry::{DeleteOptions, Strategy, Termination};
    let seconds = |pod: &Value, asked: Option<i64>| {
        let options = DeleteOptions { grace_period_seconds: asked, ..DeleteOptions::default() };
        match PodStrategy.termination(pod, &options) {
            Termination::Graceful { seconds } => seconds,
            Termination::Immediate => panic!("a pod's end is graceful"),
        }
    };
    let mut pod = good();
    assert_eq!(seconds(&pod, None), 0, "not scheduled yet");
    pod["spec"]["nodeName"] = json!("n1");
    assert_eq!(seconds(&pod, None), 30);
    assert_eq!(seconds(&pod, Some(5)), 5);
    assert_eq!(seconds(&pod, Some(-1)), 1);
    pod["status"] = json!({"phase": "Succeeded"});
    assert_eq!(seconds(&pod, Some(5)), 0);
    assert_eq!(pod.sub("status").text("phase"), "Succeeded");
}
