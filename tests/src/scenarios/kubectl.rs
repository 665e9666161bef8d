//! Everyday sessions with the real kubectl, in every version that is at hand: what it prints, and how it is refused.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use super::World;
use crate::harness::{Kubectl, Result, Scenario, eventually};

pub const SCENARIOS: [Scenario<World>; 4] = [
    Scenario { name: "kubectl-objects", run: |world| with_each(world, "objects", objects) },
    Scenario { name: "kubectl-rollouts", run: |world| with_each(world, "rollouts", rollouts) },
    Scenario { name: "kubectl-streams", run: |world| with_each(world, "streams", streams) },
    Scenario { name: "kubectl-nodes-and-cascades", run: |world| with_each(world, "nodes", nodes_and_cascades) },
];

/// A session with each kubectl, in a namespace of its own that is deleted at the end.
fn with_each(world: &mut World, name: &str, session: fn(&World, &Kubectl) -> Result<()>) -> Result<()> {
    for (number, program) in Kubectl::programs().iter().enumerate() {
        let namespace = format!("{name}-{number}");
        let kubectl = world.namespace(&namespace)?.by(program);
        session(world, &kubectl).map_err(|error| format!("with {}: {error}", program.display()))?;
        kubectl.run(&format!("delete namespace {namespace} --wait=false"))?;
    }
    Ok(())
}

/// Succeeds and prints each of the texts.
fn says(kubectl: &Kubectl, words: &[&str], texts: &[&str]) -> Result<()> {
    let printed = kubectl.run_words(words)?;
    match texts.iter().find(|text| !printed.contains(**text)) {
        None => Ok(()),
        Some(text) => Err(format!("kubectl {} was to say {text:?}, but: {printed}", words.join(" ")).into()),
    }
}

/// Fails with exit code 1 and says why.
fn refuses(kubectl: &Kubectl, words: &[&str], text: &str) -> Result<()> {
    let output = kubectl.attempt_words(words, None)?;
    if output.code == 1 && output.stderr.contains(text) {
        return Ok(());
    }
    Err(format!("kubectl {} was to be refused with {text:?}, but: {output:?}", words.join(" ")).into())
}

fn objects(world: &World, kubectl: &Kubectl) -> Result<()> {
    let says = |words: &str, texts: &[&str]| says(kubectl, &words.split_whitespace().collect::<Vec<_>>(), texts);
    let refuses = |words: &str, text: &str| refuses(kubectl, &words.split_whitespace().collect::<Vec<_>>(), text);
    discovery(kubectl)?;

    let deployment = format!("create deployment tried --image={} --dry-run", world.image("nginx:1")?);
    says(&format!("{deployment}=client --output=yaml"), &["kind: Deployment", "replicas: 1"])?;
    says(&format!("{deployment}=server"), &["deployment.apps/tried created (server dry run)"])?;
    says(&format!("{deployment}=server --output=yaml"), &["progressDeadlineSeconds: 600", "maxSurge: 25%"])?;
    refuses("get deployment tried", "Error from server (NotFound): deployments.apps \"tried\" not found")?;

    three_way(kubectl)?;
    says("label configmap settings colour=red", &["configmap/settings labeled"])?;
    refuses("label configmap settings colour=blue", "'colour' already has a value (red), and --overwrite is false")?;
    says("label configmap settings colour-", &["configmap/settings unlabeled"])?;
    says("annotate configmap settings note=here", &["configmap/settings annotated"])?;
    patches(kubectl)?;

    let edited = kubectl.edit("configmap/settings", "sed -i s/c:/d:/")?;
    assert!(edited.stdout.contains("configmap/settings edited"), "{edited:?}");
    says("get configmap settings --output=jsonpath={.data.d}", &["3"])?;
    let left = kubectl.edit("configmap/settings", "true")?;
    // To which of the two it is said differs from version to version.
    assert!(format!("{}{}", left.stdout, left.stderr).contains("Edit cancelled, no changes made."), "{left:?}");

    says("create secret generic hidden --from-literal=word=swordfish", &["secret/hidden created"])?;
    says("describe secret hidden", &["Type:  Opaque", "word:  9 bytes"])?;
    says("create serviceaccount bob", &["serviceaccount/bob created"])?;
    says("create token bob", &["eyJ"])?;
    refuses(
        "create token bob --duration=10s",
        "spec.expirationSeconds: Invalid value: 10: may not specify a duration less than 10 minutes",
    )?;
    refuses("create token nobody", "serviceaccounts \"nobody\" not found")?;
    says("create service clusterip plain --tcp=80:8080", &["service/plain created"])?;
    says("describe service plain", &["Type:                     ClusterIP", "8080/TCP"])?;
    refuses("create service clusterip plain --tcp=80:8080", "services \"plain\" already exists")?;
    says("get configmaps,secrets,serviceaccounts,services --output=name", &["configmap/settings", "service/plain"])
}

fn discovery(kubectl: &Kubectl) -> Result<()> {
    let tried: [(&str, &[&str]); 9] = [
        ("api-resources", &["deployments", "deploy", "apps/v1", "endpointslices"]),
        ("api-versions", &["apps/v1\n", "coordination.k8s.io/v1\n", "\nv1\n"]),
        ("version", &["Server Version: v1.36."]),
        ("cluster-info", &["Kubernetes control plane"]),
        ("get --raw /readyz?verbose", &["[+]etcd ok", "readyz check passed"]),
        ("get --raw /version", &["\"minor\": \"36\""]),
        (
            "explain deployment.spec.strategy",
            &["FIELD: strategy <DeploymentStrategy>", "enum: Recreate, RollingUpdate"],
        ),
        ("explain pods --recursive", &["KIND:       Pod", "terminationMessagePath"]),
        ("explain pod.spec.containers.livenessProbe.httpGet", &["port\t<IntOrString> -required-"]),
    ];
    for (words, texts) in tried {
        says(kubectl, &words.split_whitespace().collect::<Vec<_>>(), texts)?;
    }
    refuses(kubectl, &["explain", "pod.spec.nope"], "field \"nope\" does not exist")?;
    refuses(kubectl, &["get", "nope"], "the server doesn't have a resource type \"nope\"")?;
    refuses(kubectl, &["get", "--raw", "/nope"], "the server could not find the requested resource")
}

/// Client-side apply: what another writer added stays, what the file no longer says goes.
fn three_way(kubectl: &Kubectl) -> Result<()> {
    let file = |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: settings}}\ndata: {data}\n");
    let differing = |data: &str| -> Result<String> {
        let output = kubectl.attempt("diff --filename=-", Some(&file(data)))?;
        if output.code == 1 {
            Ok(output.stdout)
        } else {
            Err(format!("a difference is exit code 1: {output:?}").into())
        }
    };
    assert!(differing("{a: '1', b: '2'}")?.contains("+  b: \"2\""));
    assert_eq!(kubectl.feed("apply --filename=-", &file("{a: '1', b: '2'}"))?.trim(), "configmap/settings created");
    kubectl.run_words(&["patch", "configmap", "settings", "--patch", r#"{"data":{"other":"stays"}}"#])?;
    let difference = differing("{a: '1', c: '3'}")?;
    assert!(difference.contains("-  b: \"2\"") && difference.contains("+  c: \"3\""), "{difference}");
    let tried = kubectl.feed("apply --dry-run=server --filename=-", &file("{a: '1', c: '3'}"))?;
    assert_eq!(tried.trim(), "configmap/settings configured (server dry run)");
    assert_eq!(kubectl.feed("apply --filename=-", &file("{a: '1', c: '3'}"))?.trim(), "configmap/settings configured");
    assert_eq!(kubectl.feed("apply --filename=-", &file("{a: '1', c: '3'}"))?.trim(), "configmap/settings unchanged");
    assert_eq!(kubectl.get("configmap settings")?["data"], json!({ "a": "1", "c": "3", "other": "stays" }));
    assert_eq!(kubectl.attempt("diff --filename=-", Some(&file("{a: '1', c: '3'}")))?.code, 0);
    Ok(())
}

fn patches(kubectl: &Kubectl) -> Result<()> {
    let patch = |kind: &'static str, patch: &'static str| {
        ["patch", "configmap", "settings", "--type", kind, "--patch", patch].to_vec()
    };
    let patched = ["configmap/settings patched"];
    says(kubectl, &patch("strategic", r#"{"metadata":{"labels":{"by":"strategic"}}}"#), &patched)?;
    says(kubectl, &patch("merge", r#"{"metadata":{"labels":{"by":"merge"}}}"#), &patched)?;
    says(kubectl, &patch("json", r#"[{"op":"remove","path":"/metadata/labels/by"}]"#), &patched)?;
    let inapplicable = r#"[{"op":"test","path":"/data/a","value":"77"}]"#;
    let output = kubectl.attempt_words(&patch("json", inapplicable), None)?;
    assert_eq!(
        (output.code, output.stderr.trim()),
        (1, "The request is invalid: the server rejected our request due to an error in our request")
    );
    refuses(kubectl, &patch("merge", r#"{"data":{"a":1}}"#), "json: cannot unmarshal number into Go struct field")
}

fn rollouts(world: &World, kubectl: &Kubectl) -> Result<()> {
    let says = |words: &str, texts: &[&str]| says(kubectl, &words.split_whitespace().collect::<Vec<_>>(), texts);
    let refuses = |words: &str, text: &str| refuses(kubectl, &words.split_whitespace().collect::<Vec<_>>(), text);
    let rolled_out = || says("rollout status deployment/web --timeout=180s", &["\"web\" successfully rolled out"]);
    let watch = kubectl.background("get pods --watch --output-watch-events")?;
    says(
        &format!("create deployment web --image={} --replicas=2", world.image("nginx:1")?),
        &["deployment.apps/web created"],
    )?;
    rolled_out()?;
    watch.until("ADDED")?;
    watch.until("1/1")?;
    drop(watch);
    says("get deployment web", &["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "2/2"])?;
    says("get deployment web --output=wide", &["CONTAINERS", "IMAGES", "SELECTOR", "app=web"])?;
    says("get deployment web --output=name", &["deployment.apps/web"])?;
    says("get deployment web --output=yaml", &["kind: Deployment", "readyReplicas: 2"])?;
    says("get pods --output=custom-columns=N:.metadata.name,NODE:.spec.nodeName", &["NODE", "node-"])?;
    says(
        "get pods --selector=app=web --field-selector=status.phase=Running --output=wide",
        &["NOMINATED NODE", "10."],
    )?;
    says("get all", &["pod/web-", "deployment.apps/web", "replicaset.apps/web-"])?;
    says("describe deployment web", &["25% max unavailable, 25% max surge", "NewReplicaSetAvailable"])?;
    let pod = super::walk::name_of(&super::walk::pods_of(kubectl, "app=web")?[0])?;
    says(&format!("describe pod {pod}"), &["QoS Class:", "Successfully assigned", "Container started"])?;

    says("scale deployment web --replicas=3", &["deployment.apps/web scaled"])?;
    refuses("scale deployment web --replicas=2 --current-replicas=9", "Expected replicas to be 9, was 3")?;
    says(
        &format!("set image deployment/web nginx={}", world.image("nginx:2")?),
        &["deployment.apps/web image updated"],
    )?;
    rolled_out()?;
    says("rollout history deployment/web --revision=2", &["revision #2", "nginx:2"])?;
    says("rollout undo deployment/web", &["deployment.apps/web rolled back"])?;
    refuses("rollout undo deployment/web --to-revision=99", "unable to find specified revision 99 in history")?;
    says("rollout pause deployment/web", &["deployment.apps/web paused"])?;
    refuses("rollout pause deployment/web", "deployments.apps \"web\" is already paused")?;
    says("set env deployment/web A=b", &["deployment.apps/web env updated"])?;
    says("rollout resume deployment/web", &["deployment.apps/web resumed"])?;
    says("rollout restart deployment/web", &["deployment.apps/web restarted"])?;
    rolled_out()?;
    says("expose deployment web --port=80", &["service/web exposed"])?;
    eventually("the service has its endpoints", || says("get endpointslices", &["web-", "IPv4", "80", "10."]))?;
    says("events --for=deployment/web", &["ScalingReplicaSet", "Scaled up replica set web-"])?;
    says("get events --field-selector=reason=ScalingReplicaSet", &["deployment/web"])?;
    says("wait --for=condition=Available deployment/web --timeout=60s", &["deployment.apps/web condition met"])?;
    says(
        "wait --for=jsonpath={.spec.replicas}=3 deployment/web --timeout=60s",
        &["deployment.apps/web condition met"],
    )?;
    refuses("wait --for=condition=Nope deployment/web --timeout=1s", "timed out waiting for the condition")?;
    says("delete deployment web --cascade=background", &["deployment.apps \"web\" deleted"])
}

fn streams(world: &World, kubectl: &Kubectl) -> Result<()> {
    let says = |words: &str, texts: &[&str]| says(kubectl, &words.split_whitespace().collect::<Vec<_>>(), texts);
    let refuses = |words: &str, text: &str| refuses(kubectl, &words.split_whitespace().collect::<Vec<_>>(), text);
    let busybox = world.image("busybox:1")?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "two", "labels": { "run": "two" } },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [
            { "name": "shell", "image": busybox, "command": ["sh", "-c", "echo one; echo two; echo three; exec sh"], "stdin": true, "tty": true },
            { "name": "web", "image": world.image("nginx:1")?, "ports": [{ "containerPort": 80 }] },
        ] },
    });
    kubectl.feed("create --filename=-", &pod.to_string())?;
    says("wait --for=condition=Ready pod/two --timeout=120s", &["pod/two condition met"])?;

    says("logs two --container=shell", &["one", "two", "three"])?;
    says("logs two --container=web --since=1h --timestamps", &["Z 20", "start worker process"])?;
    says("logs --selector=run=two --container=web --tail=1", &["worker process"])?;
    says("logs two --all-containers --prefix", &["[pod/two/shell]", "[pod/two/web]"])?;
    refuses("logs two --container=nope", "container nope is not valid for pod two")?;
    refuses("logs two --container=web --previous", "previous terminated container \"web\" in pod \"two\" not found")?;
    let followed = kubectl.background("logs two --container=web --follow --tail=1")?;
    says("exec two --container=web -- wget -q -O - http://127.0.0.1/", &["hello from version 1"])?;
    followed.until("GET / HTTP/1.1")?;
    drop(followed);

    let exit = kubectl.attempt_words(&["exec", "two", "--container=shell", "--", "sh", "-c", "exit 9"], None)?;
    assert_eq!((exit.code, exit.stderr.trim()), (9, "command terminated with exit code 9"));
    refuses("exec two --container=web -- nope", "executable file not found in $PATH")?;
    refuses("exec nope -- ls", "Error from server (NotFound): pods \"nope\" not found")?;
    assert_eq!(kubectl.feed("exec --stdin two --container=web -- cat", "piped")?, "piped");
    let typed = kubectl.on_a_terminal("exec --stdin --tty two --container=shell -- sh", "stty size\nexit 5\n")?;
    assert!(typed.stdout.contains("33 77") && typed.code == 5, "{typed:?}");
    let typed = kubectl.attempt("attach --stdin two --container=shell", Some("echo sum $((20+3))\nexit\n"))?;
    assert!(typed.stdout.contains("sum 23"), "{typed:?}");

    // A container whose stdin stays open goes on when who attached has said all.
    let left = "run left --restart=Never --attach --stdin --leave-stdin-open --pod-running-timeout=60s";
    let told = kubectl.feed(&format!("{left} --image={busybox} -- cat"), "heard\n")?;
    assert!(told.contains("heard"), "{told}");
    says("get pod left", &["Running"])?;
    says("delete pod left --now", &["pod \"left\" deleted"])?;

    let forward = kubectl.background("port-forward pod/two :80")?;
    let line = forward.until("Forwarding from 127.0.0.1:")?;
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).ok_or("a port is named")?;
    for _ in 0..2 {
        let mut stream = TcpStream::connect(("127.0.0.1", port.parse()?))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert!(answer.contains("hello from version 1"), "{answer}");
    }
    drop(forward);

    let directory = tempfile::tempdir()?;
    let there = directory.path().join("there");
    std::fs::write(&there, "copied\n")?;
    says(&format!("cp {} two:/tmp/copy --container=shell", there.display()), &[])?;
    let back = directory.path().join("back");
    says(&format!("cp two:/tmp/copy {} --container=shell", back.display()), &[])?;
    assert_eq!(std::fs::read_to_string(back)?, "copied\n");

    // The shell ended when `exit` was typed; its earlier life can still be read.
    eventually("the shell's earlier log", || says("logs two --container=shell --previous", &["three"]))?;
    says("delete pod two --grace-period=0 --force", &["pod \"two\" force deleted"])?;
    refuses("delete pod two", "Error from server (NotFound): pods \"two\" not found")?;
    says("delete pod two --ignore-not-found", &[])
}

fn nodes_and_cascades(world: &World, kubectl: &Kubectl) -> Result<()> {
    let says = |words: &str, texts: &[&str]| says(kubectl, &words.split_whitespace().collect::<Vec<_>>(), texts);
    let refuses = |words: &str, text: &str| refuses(kubectl, &words.split_whitespace().collect::<Vec<_>>(), text);
    says("describe node node-1", &["MemoryPressure", "KubeletReady", "Non-terminated Pods", "PodCIDR:"])?;
    says("taint nodes node-1 tried=yes:NoSchedule", &["node/node-1 tainted"])?;
    refuses("taint nodes node-1 tried=yes:NoSchedule", "taint(s) with same effect(s) and --overwrite is false")?;
    says("taint nodes node-1 tried:NoSchedule-", &["node/node-1 untainted"])?;

    let image = world.image("nginx:1")?;
    says(&format!("create deployment kept --image={image} --replicas=3"), &["created"])?;
    says("rollout status deployment/kept --timeout=180s", &["successfully rolled out"])?;
    says(
        "drain node-1 --ignore-daemonsets --pod-selector=app=kept --timeout=120s",
        &["node/node-1 cordoned", "evicted", "node/node-1 drained"],
    )?;
    says("get nodes", &["Ready,SchedulingDisabled"])?;
    says("uncordon node-1", &["node/node-1 uncordoned"])?;
    says("rollout status deployment/kept --timeout=180s", &["successfully rolled out"])?;

    says("delete deployment kept --cascade=orphan", &["deployment.apps \"kept\" deleted"])?;
    says("get replicasets --selector=app=kept --output=name", &["replicaset.apps/kept-"])?;
    says("delete replicasets --selector=app=kept --cascade=foreground --timeout=120s", &["deleted"])?;
    let left = kubectl.run("get pods,replicasets --output=name")?;
    assert_eq!(left.trim(), "", "a foreground deletion waits for the dependents");
    Ok(())
}
