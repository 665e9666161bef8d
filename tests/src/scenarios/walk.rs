//! The README's walk, as a new user types it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::World;
use crate::harness::{Kubectl, Result, Scenario, eventually};

pub const SCENARIOS: [Scenario<World>; 2] =
    [Scenario { name: "walk", run: walk }, Scenario { name: "walk-trace", run: trace }];

pub fn walk(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("walk")?;
    kubectl.run(&format!("create deployment test-nginx --image={} --replicas=3", world.image("nginx:1")?))?;
    kubectl.run("rollout status deployment/test-nginx --timeout=180s")?;
    let pods = pods_of(&kubectl, "app=test-nginx")?;
    assert_eq!(pods.len(), 3);
    let nodes: BTreeSet<_> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    assert_eq!(nodes.len(), usize::from(world.shape.nodes.min(3)), "three replicas spread over the nodes: {nodes:?}");

    kubectl.run("scale deployment/test-nginx --replicas=5")?;
    kubectl.run("rollout status deployment/test-nginx --timeout=180s")?;
    assert_eq!(pods_of(&kubectl, "app=test-nginx")?.len(), 5);

    kubectl.run(&format!("set image deployment/test-nginx nginx={}", world.image("nginx:2")?))?;
    kubectl.run("rollout status deployment/test-nginx --timeout=180s")?;
    greeted(&kubectl, "hello from version 2")?;
    kubectl.run("rollout undo deployment/test-nginx")?;
    kubectl.run("rollout status deployment/test-nginx --timeout=180s")?;
    greeted(&kubectl, "hello from version 1")?;
    let history = kubectl.run("rollout history deployment/test-nginx")?;
    assert!(history.contains('2') && history.contains('3') && !history.contains("\n1 "), "{history}");

    let pod = name_of(&pods_of(&kubectl, "app=test-nginx")?[0])?;
    let logs = kubectl.run(&format!("logs {pod}"))?;
    assert!(logs.contains("GET / HTTP/1.1"), "{logs}");
    let exit = kubectl.attempt_words(&["exec", &pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7"], None)?;
    assert_eq!((exit.code, exit.stdout.trim(), exit.stderr.lines().next()), (7, "out", Some("err")));
    let described = kubectl.run("describe deployment test-nginx")?;
    assert!(described.contains("ScalingReplicaSet") && described.contains("Scaled up replica set"), "{described}");
    let described = kubectl.run(&format!("describe pod {pod}"))?;
    for event in ["Successfully assigned walk/", "Container created", "Container started"] {
        assert!(described.contains(event), "{described}");
    }

    kubectl.run("delete deployment test-nginx")?;
    eventually("nothing of the deployment is left", || {
        let left = kubectl.run("get deployments,replicasets,pods --output=name")?;
        if left.trim().is_empty() { Ok(()) } else { Err(left.into()) }
    })
}

/// The trace of a deployment goes from the request to the containers, through every process.
fn trace(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("traced")?;
    kubectl.run(&format!("create deployment test-nginx --image={} --replicas=2", world.image("nginx:1")?))?;
    kubectl.run("rollout status deployment/test-nginx --timeout=180s")?;
    eventually("the timeline shows every process", || {
        let words = ["deployment/test-nginx".to_owned(), "--namespace=traced".to_owned()];
        let timeline = world.cluster.keelson("trace", &words)?.stdout;
        for process in ["apiserver", "raftstore", "controllers", "scheduler", "nodeagent"] {
            if !timeline.contains(process) {
                return Err(format!("no {process} in\n{timeline}").into());
            }
        }
        Ok(())
    })?;
    kubectl.run("delete deployment test-nginx --wait=false").map(drop)
}

pub fn pods_of(kubectl: &Kubectl, selector: &str) -> Result<Vec<Value>> {
    let list = kubectl.get(&format!("pods --selector={selector}"))?;
    let items = list["items"].as_array().ok_or("a list has items")?;
    Ok(items.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).cloned().collect())
}

pub fn name_of(object: &Value) -> Result<String> {
    Ok(object["metadata"]["name"].as_str().ok_or("an object has a name")?.to_owned())
}

/// Every pod of the deployment answers with the greeting.
fn greeted(kubectl: &Kubectl, greeting: &str) -> Result<()> {
    eventually("every replica greets", || {
        for pod in pods_of(kubectl, "app=test-nginx")? {
            let answer = kubectl.run(&format!("exec {} -- wget -q -O - http://127.0.0.1/", name_of(&pod)?))?;
            if answer.trim() != greeting {
                return Err(format!("{answer:?} instead of {greeting:?}").into());
            }
        }
        Ok(())
    })
}
