//! What a container knows about itself, and as whom it runs.

use serde_json::{Value, json};

use super::{create, event, phase, shows};
use crate::harness::{Kubectl, Result, Scenario};
use crate::scenarios::World;

pub const SCENARIOS: [Scenario<World>; 2] = [
    Scenario { name: "pods-environment-in-full", run: environment },
    Scenario { name: "pods-security", run: security },
];

fn environment(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("environment")?;
    kubectl.run("create configmap settings --from-literal=COLOUR=blue --from-literal=SHAPE=round")?;
    kubectl.run("create secret generic hidden --from-literal=WORD=sword")?;
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let resource = |name: &str, resource: &str, divisor: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": divisor } } });
    let script = "echo $COLOUR/$P_SHAPE/$S_WORD/$SHAPE; echo $NAMESPACE/$LABEL/$NOTE/$ACCOUNT; \
        test $UID_ = $(cat /me/uid) && test $IP = $(hostname -i) && echo same; echo $NODE $HOST; \
        echo $CPU $MEMORY $ASKED; echo $ABSENT.; echo $KUBERNETES_SERVICE_HOST; cat /etc/hostname; grep alias /etc/hosts; \
        cat /etc/resolv.conf";
    create(
        &kubectl,
        "knowing",
        json!({
            "restartPolicy": "Never", "hostname": "named", "subdomain": "below",
            "hostAliases": [{ "ip": "192.0.2.7", "hostnames": ["alias.example"] }],
            "dnsPolicy": "None",
            "dnsConfig": { "nameservers": ["192.0.2.53"], "searches": ["example"], "options": [{ "name": "ndots", "value": "2" }] },
            "containers": [{
                "name": "main", "image": world.image("busybox:1")?, "command": ["sh", "-c", script],
                "resources": { "limits": { "cpu": "250m", "memory": "64Mi" }, "requests": { "memory": "32Mi" } },
                "envFrom": [
                    { "configMapRef": { "name": "settings" } },
                    { "prefix": "P_", "configMapRef": { "name": "settings" } },
                    { "prefix": "S_", "secretRef": { "name": "hidden" } },
                    { "configMapRef": { "name": "no-such", "optional": true } },
                ],
                "env": [
                    { "name": "SHAPE", "value": "square" },
                    field("NAMESPACE", "metadata.namespace"), field("LABEL", "metadata.labels['run']"),
                    field("NOTE", "metadata.annotations['none']"), field("ACCOUNT", "spec.serviceAccountName"),
                    field("UID_", "metadata.uid"), field("IP", "status.podIP"), field("NODE", "spec.nodeName"),
                    field("HOST", "status.hostIP"),
                    resource("CPU", "limits.cpu", "1m"), resource("MEMORY", "limits.memory", "1Mi"),
                    resource("ASKED", "requests.memory", "0"),
                    { "name": "ABSENT", "valueFrom": { "secretKeyRef": { "name": "hidden", "key": "no", "optional": true } } },
                ],
                "volumeMounts": [{ "name": "me", "mountPath": "/me" }],
            }],
            "volumes": [{ "name": "me", "downwardAPI": { "items": [{ "path": "uid", "fieldRef": { "fieldPath": "metadata.uid" } }] } }],
        }),
    )?;
    create(
        &kubectl,
        "lacking",
        json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": world.image("busybox:1")?, "command": ["sleep", "1000"],
                "envFrom": [{ "configMapRef": { "name": "no-such" } }] }],
        }),
    )?;
    phase(&kubectl, "knowing", "Succeeded")?;
    let pod = kubectl.get("pod knowing")?;
    let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let wanted = format!(
        "blue/round/sword/square\nenvironment/knowing//default\nsame\n{} {}\n250 64 33554432\n.\n10.96.0.1\nnamed\n\
         192.0.2.7\talias.example\nsearch example\nnameserver 192.0.2.53\noptions ndots:2",
        text("/spec/nodeName"),
        text("/status/hostIP"),
    );
    assert_eq!(kubectl.run("logs knowing")?.trim(), wanted);
    let waiting = "/status/containerStatuses/0/state/waiting";
    shows(&kubectl, "lacking", &format!("{waiting}/reason"), &json!("CreateContainerConfigError"))?;
    shows(&kubectl, "lacking", &format!("{waiting}/message"), &json!("configmap \"no-such\" not found"))?;
    kubectl.run("delete pods --all").map(drop)
}

fn security(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("security")?;
    let busybox = world.image("busybox:1")?;
    let once = |pod: Value, container: Value, script: &str| {
        json!({
            "restartPolicy": "Never", "securityContext": pod,
            "containers": [{ "name": "main", "image": busybox, "command": ["sh", "-c", script], "securityContext": container,
                "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }] }],
            "volumes": [{ "name": "scratch", "emptyDir": {} }],
        })
    };
    create(
        &kubectl,
        "somebody",
        once(
            json!({ "runAsUser": 1000, "runAsGroup": 2000, "fsGroup": 3000, "supplementalGroups": [4000] }),
            json!({ "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } }),
            "id -u; id -g; id -G; touch /file 2>&1 | grep -o 'Read-only.*'; touch /scratch/file && stat -c %g /scratch/file; \
             grep -E 'CapEff|NoNewPrivs' /proc/self/status",
        ),
    )?;
    create(
        &kubectl,
        "root",
        once(
            json!({}),
            json!({ "capabilities": { "add": ["NET_ADMIN"] } }),
            "id -u; grep -E 'NoNewPrivs' /proc/self/status; ip link set lo down && echo lowered",
        ),
    )?;
    let mut sharing = once(json!({}), json!({}), "ps | grep -c '[p]ause'");
    sharing["shareProcessNamespace"] = json!(true);
    create(&kubectl, "sharing", sharing)?;
    create(&kubectl, "refused", once(json!({ "runAsNonRoot": true }), json!({}), "id"))?;
    ends_with(
        &kubectl,
        "somebody",
        "1000\n2000\n2000 3000 4000\nRead-only file system\n3000\nCapEff:\t0000000000000000\nNoNewPrivs:\t1",
    )?;
    ends_with(&kubectl, "root", "0\nNoNewPrivs:\t0\nlowered")?;
    ends_with(&kubectl, "sharing", "1")?;
    shows(
        &kubectl,
        "refused",
        "/status/containerStatuses/0/state/waiting/reason",
        &json!("CreateContainerConfigError"),
    )?;
    event(&kubectl, "refused", "Failed", "container has runAsNonRoot and image will run as root")?;
    kubectl.run("delete pods --all").map(drop)
}

fn ends_with(kubectl: &Kubectl, name: &str, wanted: &str) -> Result<()> {
    phase(kubectl, name, "Succeeded")?;
    let printed = kubectl.run(&format!("logs {name}"))?;
    if printed.trim() == wanted { Ok(()) } else { Err(format!("{name} printed {printed:?}, not {wanted:?}").into()) }
}
