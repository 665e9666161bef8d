//! The two commands: up from nothing, up again, down, and no trace after a purge.

use super::World;
use crate::harness::{MACHINE_ADDRESS, Network, Result, eventually, run};

pub fn up(world: &mut World) -> Result<()> {
    let flags = world.flags();
    let output = world.cluster.up(world.shape, &flags)?;
    assert!(output.stdout.contains("kubectl create deployment"), "up names the next command: {}", output.stdout);
    world.start_registry()?;
    // Run again, it takes up the same cluster and starts nothing anew.
    let before: Vec<_> = pids(world)?;
    world.cluster.up(world.shape, &flags)?;
    assert_eq!(pids(world)?, before);
    let status = world.cluster.keelson("status", &[])?.stdout;
    let (member, node) =
        (format!("raftstore-member-{}", world.shape.members), format!("nodeagent-node-{}", world.shape.nodes));
    for part in [member.as_str(), "apiserver", "controllers", "scheduler", node.as_str(), "leader"] {
        assert!(status.contains(part), "status shows {part}:\n{status}");
    }
    let nodes = world.kubectl()?.run("get nodes")?;
    assert_eq!(nodes.matches(" Ready ").count(), usize::from(world.shape.nodes), "{nodes}");
    Ok(())
}

/// Flags of the clusters under test. The test's registry speaks plain HTTP, as every registry on a private network may that
/// the nodes are told of; and a machine whose disk is rather full is no reason to keep pods away.
pub fn test_flags() -> Vec<String> {
    let mut registries: Vec<_> = (0..64).map(|slot| format!("172.29.{slot}.1:5000")).collect();
    registries.push(format!("{MACHINE_ADDRESS}:5000"));
    vec![
        format!("nodeagent=--insecure-registry={}", registries.join(",")),
        "nodeagent=--eviction-hard=memory.available<100Mi,nodefs.available<1%".to_owned(),
    ]
}

fn pids(world: &World) -> Result<Vec<(String, i32)>> {
    world.cluster.processes()?.into_iter().map(|name| Ok((name.clone(), world.cluster.pid_of(&name)?))).collect()
}

/// Stopped and started, the cluster has its objects and runs its pods again.
pub fn down_and_up_again(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("survivor")?;
    kubectl.run(&format!("create deployment web --image={} --replicas=2", world.image("nginx:1")?))?;
    kubectl.run("rollout status deployment/web --timeout=180s")?;
    world.cluster.keelson("down", &[])?;
    assert!(kubectl.refused("get pods", None)?.contains("refused"));
    world.cluster.up(world.shape, &world.flags())?;
    eventually("both replicas are ready again", || {
        let deployment = kubectl.get("deployment web")?;
        match deployment["status"]["readyReplicas"].as_i64() {
            Some(2) => Ok(()),
            other => Err(format!("ready replicas: {other:?}").into()),
        }
    })?;
    eventually("each of them answers", || {
        for pod in kubectl.get("pods --selector=app=web")?["items"].as_array().ok_or("a list has items")? {
            let name = pod["metadata"]["name"].as_str().ok_or("a pod has a name")?;
            kubectl.run(&format!("exec {name} -- wget -q -O - http://127.0.0.1/"))?;
        }
        Ok(())
    })
}

pub fn purge(world: &mut World) -> Result<()> {
    let slot = world.cluster.slot()?;
    let root = world.cluster.root().display().to_string();
    world.stop_registry();
    world.cluster.purge()?;
    let links = run("ip", &["-o", "link"], None)?.stdout;
    if world.shape.network == Network::Host {
        assert!(!links.contains("cnio0"), "{links}");
    }
    assert!(!links.contains(&format!("keelson{slot}")) && !links.contains(&format!("kl{slot}-")), "{links}");
    let namespaces = run("ip", &["netns", "list"], None)?.stdout;
    assert!(!namespaces.contains(&format!("keelson{slot}-")), "{namespaces}");
    let tables = run("nft", &["list", "tables"], None)?.stdout;
    assert!(!tables.contains(&format!("keelson{slot}-")), "{tables}");
    if world.shape.network == Network::Host {
        assert_eq!(tables, "", "a machine that had no tables has none again");
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    assert!(!mounts.contains(&root), "mounts below {root} are left");
    let processes = run("ps", &["-eo", "args"], None)?.stdout;
    let left: Vec<_> = processes.lines().filter(|line| line.contains(&root) && !line.contains("end-to-end")).collect();
    assert!(left.is_empty(), "processes are left: {left:?}");
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup")? {
        let group = hierarchy?.path().join(format!("keelson{slot}"));
        assert!(!group.exists(), "{} is left", group.display());
    }
    Ok(())
}
