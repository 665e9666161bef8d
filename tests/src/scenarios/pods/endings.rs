//! How containers and pods come to their end, and what the status says of it.

use serde_json::{Value, json};

use super::{create, event, phase, shows};
use crate::harness::{Result, Scenario};
use crate::scenarios::World;

pub const SCENARIOS: [Scenario<World>; 2] =
    [Scenario { name: "pods-endings", run: endings }, Scenario { name: "pods-sidecars", run: sidecars }];

const ENDED: &str = "/status/containerStatuses/0/state/terminated";

fn endings(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("endings")?;
    let busybox = world.image("busybox:1")?;
    let once = |policy: &str, script: &str, more: Value| {
        let mut container = json!({ "name": "main", "image": busybox, "command": ["sh", "-c", script] });
        container.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        json!({ "restartPolicy": policy, "terminationGracePeriodSeconds": 1, "containers": [container] })
    };
    create(&kubectl, "spoken", once("Never", "echo -n last words > /dev/termination-log; exit 4", json!({})))?;
    let elsewhere = json!({ "terminationMessagePath": "/tmp/note" });
    create(&kubectl, "elsewhere", once("Never", "echo -n noted > /tmp/note", elsewhere))?;
    let fallback = json!({ "terminationMessagePolicy": "FallbackToLogsOnError" });
    create(&kubectl, "logged", once("Never", "echo in the log; echo -n and no end; exit 5", fallback))?;
    let small = json!({ "resources": { "limits": { "memory": "16Mi" } } });
    create(&kubectl, "greedy", once("Never", "tail /dev/zero", small))?;
    let mut late = once("Always", "sleep 1000", json!({}));
    late["activeDeadlineSeconds"] = json!(1);
    create(&kubectl, "late", late)?;
    let scratch = json!({ "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }] });
    let mut again = once("OnFailure", "test -e /scratch/once && exit 0; touch /scratch/once; exit 1", scratch);
    again["volumes"] = json!([{ "name": "scratch", "emptyDir": {} }]);
    create(&kubectl, "again", again)?;
    let mut unprepared = once("Never", "true", json!({}));
    unprepared["initContainers"] = json!([{ "name": "first", "image": busybox, "command": ["sh", "-c", "exit 6"] }]);
    create(&kubectl, "unprepared", unprepared)?;
    create(&kubectl, "impossible", once("Never", "", json!({ "command": ["/no/such/program"] })))?;

    phase(&kubectl, "spoken", "Failed")?;
    shows(&kubectl, "spoken", &format!("{ENDED}/message"), &json!("last words"))?;
    shows(&kubectl, "spoken", &format!("{ENDED}/exitCode"), &json!(4))?;
    phase(&kubectl, "elsewhere", "Succeeded")?;
    shows(&kubectl, "elsewhere", &format!("{ENDED}/message"), &json!("noted"))?;
    shows(&kubectl, "elsewhere", &format!("{ENDED}/reason"), &json!("Completed"))?;
    phase(&kubectl, "logged", "Failed")?;
    shows(&kubectl, "logged", &format!("{ENDED}/message"), &json!("in the log\nand no end"))?;
    assert_eq!(kubectl.run("logs logged")?, "in the log\nand no end");
    phase(&kubectl, "greedy", "Failed")?;
    shows(&kubectl, "greedy", &format!("{ENDED}/reason"), &json!("OOMKilled"))?;
    shows(&kubectl, "greedy", &format!("{ENDED}/exitCode"), &json!(137))?;
    phase(&kubectl, "late", "Failed")?;
    shows(&kubectl, "late", "/status/reason", &json!("DeadlineExceeded"))?;
    shows(
        &kubectl,
        "late",
        "/status/message",
        &json!("Pod was active on the node longer than the specified deadline"),
    )?;
    event(&kubectl, "late", "DeadlineExceeded", "Pod was active on the node longer than the specified deadline")?;
    phase(&kubectl, "again", "Succeeded")?;
    shows(&kubectl, "again", "/status/containerStatuses/0/restartCount", &json!(1))?;
    phase(&kubectl, "unprepared", "Failed")?;
    shows(&kubectl, "unprepared", "/status/initContainerStatuses/0/state/terminated/exitCode", &json!(6))?;
    phase(&kubectl, "impossible", "Failed")?;
    shows(&kubectl, "impossible", &format!("{ENDED}/reason"), &json!("StartError"))?;
    shows(&kubectl, "impossible", &format!("{ENDED}/exitCode"), &json!(128))?;
    let listed = kubectl.run("get pods")?;
    for column in ["Init:Error", "OOMKilled", "StartError", "Completed", "Error"] {
        assert!(listed.contains(column), "no {column} in {listed}");
    }
    kubectl.run("delete pods --all").map(drop)
}

/// A sidecar is up before what comes after it, is started again when it ends, and ends after the containers.
fn sidecars(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("sidecars")?;
    let busybox = world.image("busybox:1")?;
    let mounts = json!([{ "name": "shared", "mountPath": "/shared" }]);
    let sidecar = "echo up >> /shared/order; touch /shared/ready; trap 'echo down >> /shared/order; cat /shared/order; exit 0' TERM; \
        while true; do sleep 0.1; done";
    create(
        &kubectl,
        "helped",
        json!({
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 5,
            "initContainers": [
                { "name": "sidecar", "image": busybox, "restartPolicy": "Always", "command": ["sh", "-c", sidecar], "volumeMounts": mounts,
                  "startupProbe": { "exec": { "command": ["test", "-e", "/shared/ready"] }, "periodSeconds": 1 } },
                { "name": "first", "image": busybox, "command": ["sh", "-c", "echo first >> /shared/order"], "volumeMounts": mounts },
            ],
            "containers": [{ "name": "main", "image": busybox, "command": ["sh", "-c", "echo main >> /shared/order"], "volumeMounts": mounts }],
            "volumes": [{ "name": "shared", "emptyDir": {} }],
        }),
    )?;
    create(
        &kubectl,
        "revived",
        json!({
            "terminationGracePeriodSeconds": 1,
            "initContainers": [{ "name": "sidecar", "image": busybox, "restartPolicy": "Always", "command": ["sh", "-c", "sleep 1; exit 1"] }],
            "containers": [{ "name": "main", "image": busybox, "command": ["sleep", "1000"] }],
        }),
    )?;
    phase(&kubectl, "helped", "Succeeded")?;
    assert_eq!(kubectl.run("logs helped --container=sidecar")?.trim(), "up\nfirst\nmain\ndown");
    shows(&kubectl, "helped", "/status/initContainerStatuses/0/state/terminated/exitCode", &json!(0))?;
    shows(&kubectl, "revived", "/status/initContainerStatuses/0/restartCount", &json!(1))?;
    shows(&kubectl, "revived", "/status/containerStatuses/0/restartCount", &json!(0))?;
    kubectl.run("delete pods --all").map(drop)
}
