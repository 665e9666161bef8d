//! What `deploy/up` makes without options: one node, which is the machine itself, in the machine's own network.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};

use super::{World, life_cycle, walk};
use crate::harness::{Collector, Network, Result, Scenario, Shape, eventually, on_a_machine_of_its_own, run};

pub const SCENARIOS: [Scenario<World>; 1] = [Scenario { name: "one-node-that-is-the-machine", run: one_node }];

const ONE_NODE: Shape = Shape { nodes: 1, members: 1, network: Network::Host };

/// The whole walk on one node, and the machine's network afterwards as it was before.
fn one_node(_: &mut World) -> Result<()> {
    on_a_machine_of_its_own(|| {
        let mut world = World::of(ONE_NODE)?;
        world.collector = Some(Collector::start()?);
        let told = catch_unwind(AssertUnwindSafe(|| story(&mut world))).unwrap_or_else(|panic| {
            Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panicked".to_owned()).into())
        });
        told.map_err(|error| format!("{error}\n{}", world.report()).into())
    })
}

fn story(world: &mut World) -> Result<()> {
    let before = network()?;
    configure(world)?;
    life_cycle::up(world)?;
    configured(world)?;
    walk::walk(world)?;
    exported(world)?;
    life_cycle::down_and_up_again(world)?;
    life_cycle::purge(world)?;
    assert_eq!(network()?, before);
    Ok(())
}

/// A configuration file for each component.
fn configure(world: &mut World) -> Result<()> {
    let root = world.cluster.root().to_owned();
    let tokens = root.join("tokens.csv");
    std::fs::write(&tokens, "from-a-file,somebody,1,system:masters\n")?;
    let files = [
        ("raftstore", "log-format: json\n".to_owned()),
        ("apiserver", format!("token-auth-file: {}\nmax-requests-inflight: 300\n", tokens.display())),
        ("controllers", "node-cidr-mask-size: 25\nconcurrent-gc-syncs: 10\n".to_owned()),
        ("scheduler", "leader-elect-resource-name: another-scheduler\n".to_owned()),
        (
            "nodeagent",
            "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\nmaxPods: 42\n\
             registerWithTaints:\n- {key: tried, value: well, effect: PreferNoSchedule}\n"
                .to_owned(),
        ),
    ];
    for (component, text) in files {
        let file = root.join(format!("{component}.yaml"));
        std::fs::write(&file, text)?;
        world.own_flags.push(format!("{component}=--config={}", file.display()));
    }
    Ok(())
}

/// Each component heeds its file.
fn configured(world: &World) -> Result<()> {
    let kubectl = world.kubectl()?;
    let node = kubectl.get("node node-1")?;
    assert_eq!(
        (&node["status"]["capacity"]["pods"], &node["spec"]["taints"][0]["key"]),
        (&json!("42"), &json!("tried"))
    );
    assert!(node["spec"]["podCIDR"].as_str().is_some_and(|range| range.ends_with("/25")), "{}", node["spec"]);
    eventually("the scheduler's Lease has another name", || {
        kubectl.run("get leases another-scheduler --namespace=kube-system")
    })?;
    let address = kubectl.run("config view --output=jsonpath={.clusters[0].cluster.server}")?;
    kubectl.run(&format!(
        "get nodes --kubeconfig=/dev/null --server={address} --token=from-a-file --certificate-authority={}",
        world.cluster.configuration().join("pki/ca.crt").display()
    ))?;
    let log = std::fs::read_to_string(world.cluster.root().join("var/log/keelson/raftstore-member-1.log"))?;
    let line = log.lines().next().unwrap_or_default();
    assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    Ok(())
}

/// One trace reaches the OTLP collector from every process that had a hand in a deployment.
fn exported(world: &World) -> Result<()> {
    let kubectl = world.namespace("exported")?;
    kubectl.run(&format!("create deployment traced --image={}", world.image("nginx:1")?))?;
    kubectl.run("rollout status deployment/traced --timeout=180s")?;
    let deployment = kubectl.get("deployment traced")?;
    let context = deployment["metadata"]["annotations"]["keelson.dev/traceparent"].as_str();
    let trace = context.and_then(|context| context.split('-').nth(1)).ok_or("the deployment carries its trace")?;
    let collector = world.collector.as_ref().ok_or("the scenario has a collector")?;
    eventually("every process exports its spans of the trace", || {
        let services = collector.services(trace);
        for process in ["apiserver", "controllers", "nodeagent", "raftstore", "scheduler"] {
            if !services.contains(process) {
                return Err(format!("no span of {process}; spans of {services:?}").into());
            }
        }
        Ok(())
    })?;
    kubectl.run("delete deployment traced --wait=false").map(drop)
}

/// The machine's links, addresses and routes, and its packet filter.
fn network() -> Result<Vec<String>> {
    let seen = |program: &str, words: &[&str]| -> Result<String> { Ok(run(program, words, None)?.stdout) };
    Ok(vec![
        seen("ip", &["-o", "link"])?,
        seen("ip", &["-o", "-4", "addr"])?,
        seen("ip", &["route"])?,
        seen("nft", &["list", "ruleset"])?,
    ])
}
