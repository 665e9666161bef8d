//! Pods reach each other, also across nodes.

use super::World;
use super::walk::{name_of, pods_of};
use crate::harness::{Result, Scenario};

pub const SCENARIOS: [Scenario<World>; 1] =
    [Scenario { name: "pods-reach-each-other-across-nodes", run: across_nodes }];

fn across_nodes(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("across")?;
    kubectl.run(&format!("create deployment web --image={} --replicas=3", world.image("nginx:1")?))?;
    kubectl.run("rollout status deployment/web --timeout=180s")?;
    let pods = pods_of(&kubectl, "app=web")?;
    let mut crossings = 0;
    for from in &pods {
        for to in &pods {
            let address = to["status"]["podIP"].as_str().ok_or("a running pod has an address")?;
            let answer = kubectl.run(&format!("exec {} -- wget -q -O - http://{address}/", name_of(from)?))?;
            assert_eq!(answer.trim(), "hello from version 1");
            crossings += usize::from(from["spec"]["nodeName"] != to["spec"]["nodeName"]);
        }
    }
    assert_eq!(crossings, 6, "three pods on three nodes");
    kubectl.run("delete deployment web").map(drop)
}
