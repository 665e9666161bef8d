//! Volumes beyond the plain ones: projected, hostPath by type, sub-paths, and files that follow their source.

use serde_json::json;

use super::{create, event, phase};
use crate::harness::{Result, Scenario, eventually};
use crate::scenarios::World;

pub const SCENARIOS: [Scenario<World>; 1] = [Scenario { name: "pods-volumes-of-every-kind", run: every_kind }];

const SCRIPT: &str = "cat /all/settings/colour /all/word; echo; cat /all/labels; echo; cat /all/limit; echo; test -s /all/token && echo token
    stat -L -c %a /all/settings/colour /all/word; cat /one/colour; echo
    echo kept > /sub/file; echo $POD > /named/file; cat /scratch/by-name/file /scratch/by-pod/reader/file
    echo from the pod > /host/file; mount | grep -c ' /memory type tmpfs'; touch /all/x 2>&1 | grep -c 'Read-only'
    ls /absent | wc -l";
const PRINTED: &str = "bluesword\nrun=\"reader\"\n100\ntoken\n640\n400\nblue\nkept\nreader\n1\n1\n0";

fn every_kind(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("volume-kinds")?;
    kubectl.run("create configmap settings --from-literal=colour=blue --from-literal=other=x")?;
    kubectl.run("create secret generic hidden --from-literal=word=sword")?;
    let busybox = world.image("busybox:1")?;
    let host = world.cluster.root().join("of-the-host");
    let projected = json!({ "name": "all", "projected": { "sources": [
        { "configMap": { "name": "settings", "items": [{ "key": "colour", "path": "settings/colour", "mode": 0o640 }] } },
        { "secret": { "name": "hidden", "items": [{ "key": "word", "path": "word", "mode": 0o400 }] } },
        { "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "limit", "resourceFieldRef": { "containerName": "main", "resource": "limits.cpu", "divisor": "1m" } },
        ] } },
        { "serviceAccountToken": { "path": "token", "audience": "somebody", "expirationSeconds": 600 } },
    ] } });
    create(
        &kubectl,
        "reader",
        json!({
            "restartPolicy": "Never",
            "containers": [{
                "name": "main", "image": busybox, "command": ["sh", "-c", SCRIPT],
                "resources": { "limits": { "cpu": "100m" } },
                "env": [{ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
                "volumeMounts": [
                    { "name": "all", "mountPath": "/all", "readOnly": true },
                    { "name": "settings", "mountPath": "/one/colour", "subPath": "colour" },
                    { "name": "scratch", "mountPath": "/scratch" },
                    { "name": "scratch", "mountPath": "/sub", "subPath": "by-name" },
                    { "name": "scratch", "mountPath": "/named", "subPathExpr": "by-pod/$(POD)" },
                    { "name": "host", "mountPath": "/host" },
                    { "name": "memory", "mountPath": "/memory" },
                    { "name": "absent", "mountPath": "/absent" },
                ],
            }],
            "volumes": [
                projected,
                { "name": "settings", "configMap": { "name": "settings" } },
                { "name": "scratch", "emptyDir": {} },
                { "name": "memory", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
                { "name": "host", "hostPath": { "path": host, "type": "DirectoryOrCreate" } },
                { "name": "absent", "configMap": { "name": "no-such", "optional": true } },
            ],
        }),
    )?;
    let hosted = |path: &str, kind: &str| {
        json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": busybox, "command": ["sleep", "1000"], "volumeMounts": [{ "name": "host", "mountPath": "/host" }] }],
            "volumes": [{ "name": "host", "hostPath": { "path": path, "type": kind } }],
        })
    };
    create(&kubectl, "no-file", hosted("/proc", "File"))?;
    create(&kubectl, "device", hosted("/dev/null", "CharDevice"))?;
    create(
        &kubectl,
        "follower",
        json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": busybox, "command": ["sleep", "1000"], "volumeMounts": [{ "name": "settings", "mountPath": "/settings" }] }],
            "volumes": [{ "name": "settings", "configMap": { "name": "settings" } }],
        }),
    )?;
    create(
        &kubectl,
        "waiting",
        json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": busybox, "command": ["sleep", "1000"], "volumeMounts": [{ "name": "later", "mountPath": "/later" }] }],
            "volumes": [{ "name": "later", "secret": { "secretName": "later" } }],
        }),
    )?;

    phase(&kubectl, "reader", "Succeeded")?;
    assert_eq!(kubectl.run("logs reader")?.trim(), PRINTED);
    assert_eq!(std::fs::read_to_string(host.join("file"))?, "from the pod\n");
    event(&kubectl, "no-file", "FailedMount", "hostPath type check failed: /proc is not a file")?;
    phase(&kubectl, "device", "Running")?;
    phase(&kubectl, "follower", "Running")?;
    kubectl.run_words(&["patch", "configmap", "settings", "--patch", r#"{"data":{"colour":"green"}}"#])?;
    eventually("the file follows its ConfigMap", || {
        let colour = kubectl.run("exec follower -- cat /settings/colour")?;
        if colour == "green" { Ok(()) } else { Err(colour.into()) }
    })?;
    event(&kubectl, "waiting", "FailedMount", "secret \"later\" not found")?;
    kubectl.run("create secret generic later --from-literal=a=b")?;
    phase(&kubectl, "waiting", "Running")?;
    kubectl.run("delete pods --all").map(drop)
}
