//! What pods are made of: environment, volumes, hooks, init containers, probes, restarts, logs.

use serde_json::json;

use super::{phase, pod};
use crate::harness::{Message, Result, Scenario, eventually, websocket};
use crate::scenarios::World;

pub const SCENARIOS: [Scenario<World>; 6] = [
    Scenario { name: "pods-environment-and-volumes", run: environment_and_volumes },
    Scenario { name: "pods-init-containers-and-hooks", run: init_and_hooks },
    Scenario { name: "pods-crash-and-back-off", run: crash },
    Scenario { name: "pods-over-websockets", run: over_websockets },
    Scenario { name: "pods-probes", run: probes },
    Scenario { name: "pods-that-fit-nowhere", run: unschedulable },
];

fn environment_and_volumes(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("volumes")?;
    kubectl.run("create configmap settings --from-literal=colour=blue --from-literal=file.txt=content")?;
    kubectl.run("create secret generic hidden --from-literal=word=swordfish")?;
    let script = "echo colour=$COLOUR word=$WORD pod=$POD greeting=$GREETING; cat /settings/file.txt; echo; cat /hidden/word; echo; \
                  echo kept > /scratch/file; cat /scratch/file; test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token; \
                  grep -c nameserver /etc/resolv.conf";
    kubectl.feed(
        "create --filename=-",
        &pod(
            "all",
            json!({
                "restartPolicy": "Never",
                "containers": [{
                    "name": "main", "image": world.image("busybox:1")?, "command": ["sh", "-c", script],
                    "env": [
                        { "name": "COLOUR", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "colour" } } },
                        { "name": "WORD", "valueFrom": { "secretKeyRef": { "name": "hidden", "key": "word" } } },
                        { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                        { "name": "GREETING", "value": "hello-$(POD)" },
                    ],
                    "volumeMounts": [
                        { "name": "settings", "mountPath": "/settings" },
                        { "name": "hidden", "mountPath": "/hidden" },
                        { "name": "scratch", "mountPath": "/scratch" },
                    ],
                }],
                "volumes": [
                    { "name": "settings", "configMap": { "name": "settings" } },
                    { "name": "hidden", "secret": { "secretName": "hidden" } },
                    { "name": "scratch", "emptyDir": {} },
                ],
            }),
        ),
    )?;
    phase(&kubectl, "all", "Succeeded")?;
    let logs = kubectl.run("logs all")?;
    assert_eq!(
        logs.trim(),
        "colour=blue word=swordfish pod=all greeting=hello-all\ncontent\nswordfish\nkept\ntoken\n1"
    );
    kubectl.run("delete pod all").map(drop)
}

fn init_and_hooks(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("hooks")?;
    let image = world.image("busybox:1")?;
    let mount = json!([{ "name": "shared", "mountPath": "/shared" }]);
    kubectl.feed(
        "create --filename=-",
        &pod(
            "hooked",
            json!({
                "terminationGracePeriodSeconds": 5,
                "initContainers": [
                    { "name": "first", "image": image, "command": ["sh", "-c", "echo 1 > /shared/order"], "volumeMounts": mount },
                    { "name": "second", "image": image, "command": ["sh", "-c", "echo 2 >> /shared/order"], "volumeMounts": mount },
                ],
                "containers": [{
                    "name": "main", "image": image, "volumeMounts": mount,
                    "command": ["sh", "-c", "trap 'echo stopped >> /shared/order; exit 0' TERM; while true; do sleep 0.1; done"],
                    "lifecycle": {
                        "postStart": { "exec": { "command": ["sh", "-c", "echo started >> /shared/order"] } },
                        "preStop": { "exec": { "command": ["sh", "-c", "echo stopping >> /shared/order"] } },
                    },
                }, {
                    "name": "watcher", "image": image, "volumeMounts": mount, "command": ["tail", "-n", "+1", "-f", "/shared/order"],
                }],
                "volumes": [{ "name": "shared", "emptyDir": {} }],
            }),
        ),
    )?;
    eventually("the pod is ready", || kubectl.run("wait --for=condition=Ready pod/hooked --timeout=30s"))?;
    eventually("the hook ran after the init containers", || {
        let order = kubectl.run("exec hooked -c main -- cat /shared/order")?;
        if order == "1\n2\nstarted\n" { Ok(()) } else { Err(order.into()) }
    })?;
    kubectl.run("delete pod hooked").map(drop)
}

fn crash(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("crash")?;
    kubectl.feed(
        "create --filename=-",
        &pod("crasher", json!({ "containers": [{ "name": "main", "image": world.image("busybox:1")?, "command": ["sh", "-c", "echo life; exit 3"] }] })),
    )?;
    eventually("the container is restarted and then held back", || {
        let seen = kubectl.get("pod crasher")?;
        let status = &seen["status"]["containerStatuses"][0];
        let held = status["state"]["waiting"]["reason"] == "CrashLoopBackOff";
        let restarted = status["restartCount"].as_i64().unwrap_or(0) >= 1;
        let told = status["lastState"]["terminated"]["exitCode"] == 3
            && status["lastState"]["terminated"]["reason"] == "Error";
        if held && restarted && told { Ok(()) } else { Err(status.to_string().into()) }
    })?;
    assert_eq!(kubectl.run("logs crasher --previous")?.trim(), "life");
    let events = kubectl.run("get events --field-selector=involvedObject.name=crasher")?;
    assert!(events.contains("Back-off restarting failed container main in pod crasher"), "{events}");
    kubectl.run("delete pod crasher").map(drop)
}

/// Client libraries speak older protocols than kubectl does.
fn over_websockets(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("websockets")?;
    let image = world.image("busybox:1")?;
    kubectl.feed(
        "create --filename=-",
        &pod(
            "talker",
            json!({ "terminationGracePeriodSeconds": 1, "containers": [{ "name": "main", "image": image, "command": ["sh", "-c", "echo alive; sleep 1000"] }] }),
        ),
    )?;
    eventually("the log is there", || {
        let log = kubectl.run("logs talker")?;
        if log == "alive\n" { Ok(()) } else { Err(log.into()) }
    })?;
    let pod = "/api/v1/namespaces/websockets/pods/talker";
    let exec = format!("{pod}/exec?stdout=1&stderr=1&command=echo&command=hello");
    // What says nothing but that a channel is there is left out.
    let said = |path: &str, protocol: &str| -> Result<Vec<Message>> {
        let messages = websocket(&world.cluster, path, protocol)?;
        Ok(messages.into_iter().filter(|message| message.len() > 1).collect())
    };
    assert_eq!(said(&exec, "channel.k8s.io")?, [Message::binary(&b"\x01hello\n"[..])]);
    assert_eq!(said(&exec, "base64.channel.k8s.io")?, [Message::text("1aGVsbG8K")]);
    let newer = said(&exec, "v4.channel.k8s.io")?;
    assert_eq!(newer[0], Message::binary(&b"\x01hello\n"[..]));
    assert!(newer[1].to_text()?.contains(r#""status":"Success""#), "{newer:?}");
    let log = format!("{pod}/log?container=main");
    assert_eq!(said(&log, "binary.k8s.io")?, [Message::binary(&b"alive\n"[..])]);
    assert_eq!(said(&log, "base64.binary.k8s.io")?, [Message::text("YWxpdmUK")]);
    kubectl.run("delete pod talker").map(drop)
}

fn probes(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("probes")?;
    let image = world.image("busybox:1")?;
    let probe = |file: &str| json!({ "exec": { "command": ["cat", file] }, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 1 });
    kubectl.feed(
        "create --filename=-",
        &pod(
            "probed",
            json!({ "terminationGracePeriodSeconds": 1, "containers": [{
                "name": "main", "image": image, "command": ["sh", "-c", "touch /tmp/alive; while true; do sleep 1; done"],
                "readinessProbe": probe("/tmp/ready"), "livenessProbe": { "exec": { "command": ["cat", "/tmp/alive"] }, "periodSeconds": 1, "timeoutSeconds": 10, "initialDelaySeconds": 2, "failureThreshold": 1 },
            }] }),
        ),
    )?;
    phase(&kubectl, "probed", "Running")?;
    let ready = |wanted: &str| {
        eventually(&format!("Ready is {wanted}"), || {
            let pod = kubectl.get("pod probed")?;
            let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let found =
                conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == wanted);
            if found { Ok(()) } else { Err(pod["status"].to_string().into()) }
        })
    };
    ready("False")?;
    eventually("the file is made", || kubectl.run("exec probed -- touch /tmp/ready"))?;
    ready("True")?;
    kubectl.run("exec probed -- rm /tmp/alive")?;
    eventually("the liveness probe restarts the container", || {
        let pod = kubectl.get("pod probed")?;
        let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0);
        if restarts >= 1 { Ok(()) } else { Err(pod["status"].to_string().into()) }
    })?;
    kubectl.run("delete pod probed").map(drop)
}

fn unschedulable(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("nowhere")?;
    kubectl.feed(
        "create --filename=-",
        &pod("huge", json!({ "containers": [{ "name": "main", "image": "huge", "resources": { "requests": { "cpu": "1000" } } }] })),
    )?;
    eventually("the pod says why it waits", || {
        let pod = kubectl.get("pod huge")?;
        let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let said = conditions.iter().any(|condition| {
            condition["reason"] == "Unschedulable"
                && condition["message"]
                    .as_str()
                    .is_some_and(|message| message.starts_with("0/3 nodes are available: 3 Insufficient cpu."))
        });
        if said && pod["status"]["phase"] == "Pending" { Ok(()) } else { Err(pod["status"].to_string().into()) }
    })?;
    eventually("an event says so too", || {
        let events = kubectl.run("get events --field-selector=involvedObject.name=huge")?;
        if events.contains("FailedScheduling") { Ok(()) } else { Err(events.into()) }
    })?;
    kubectl.run("delete pod huge").map(drop)
}
