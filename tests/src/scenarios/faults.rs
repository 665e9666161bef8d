//! kill -9 of every process while a rollout runs.

use std::collections::BTreeMap;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::World;
use super::walk::{name_of, pods_of};
use crate::harness::{Kubectl, Result, Scenario, eventually};

pub const SCENARIOS: [Scenario<World>; 1] = [Scenario { name: "kill-each-process-during-a-rollout", run: kill_each }];

/// Every process is killed once, each while a rollout runs. Every rollout completes, a bystander's containers run on
/// untouched, and every write that was acknowledged is there at the end.
fn kill_each(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("faults")?;
    let images = [world.image("nginx:1")?, world.image("nginx:2")?];
    for name in ["bystander", "subject"] {
        kubectl.run(&format!("create deployment {name} --image={} --replicas=3", images[0]))?;
        kubectl.run(&format!("rollout status deployment/{name} --timeout=180s"))?;
    }
    let before = containers(&kubectl)?;
    let mut acknowledged = Vec::new();
    for (round, process) in world.cluster.processes()?.iter().enumerate() {
        let image = &images[(round + 1) % 2];
        kubectl.run(&format!("set image deployment/subject nginx={image}"))?;
        let pid = world.cluster.pid_of(process)?;
        kill(Pid::from_raw(pid), Signal::SIGKILL)?;
        if process == "supervisor" {
            // Nothing watches the supervisor but whoever starts it: up takes up what it left.
            world.cluster.up(world.shape, &world.flags())?;
        }
        let note = format!("round-{round}");
        eventually(&format!("a write is acknowledged after {process} was killed"), || {
            kubectl.run(&format!("create configmap {note} --from-literal=killed={process}"))
        })?;
        acknowledged.push((note, process.clone()));
        eventually(&format!("the rollout completes after {process} was killed"), || {
            kubectl.run("rollout status deployment/subject --timeout=60s")
        })?;
        let restarted = world.cluster.pid_of(process)?;
        assert_ne!(restarted, pid, "{process} was started again");
    }
    for (note, process) in &acknowledged {
        let found = kubectl.get(&format!("configmap {note}"))?;
        assert_eq!(found["data"]["killed"].as_str(), Some(process.as_str()));
    }
    assert_eq!(containers(&kubectl)?, before, "the bystander's containers ran on");
    kubectl.run("delete deployment bystander subject").map(drop)
}

/// The bystander's containers: id and restarts by pod.
fn containers(kubectl: &Kubectl) -> Result<BTreeMap<String, Value>> {
    let mut all = BTreeMap::new();
    for pod in pods_of(kubectl, "app=bystander")? {
        let status = &pod["status"]["containerStatuses"][0];
        all.insert(name_of(&pod)?, serde_json::json!([status["containerID"], status["restartCount"]]));
    }
    if all.len() == 3 { Ok(all) } else { Err(format!("three bystanders, not {}", all.len()).into()) }
}
