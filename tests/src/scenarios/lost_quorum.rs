//! Most members of the store are lost with their disks: one command makes a cluster of the one that is left.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::World;
use crate::harness::{Result, Scenario, Shape, eventually};

pub const SCENARIOS: [Scenario<World>; 1] = [Scenario { name: "lost-quorum", run: lost_quorum }];

fn lost_quorum(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("kept")?;
    kubectl.run("create configmap kept --from-literal=word=acknowledged")?;
    let recover = ["recover".to_owned()];
    let early = world.cluster.keelson("store", &recover);
    assert!(early.is_err(), "a cluster that runs is not recovered");

    world.cluster.keelson("down", &[])?;
    let store = world.cluster.root().join("var/lib/keelson/store");
    for member in 2..=world.shape.members {
        std::fs::remove_dir_all(store.join(format!("member-{member}")))?;
    }
    // As if it had been cut short: nothing may start then, least of all a new store without anything in it.
    let file = world.cluster.configuration().join("cluster.json");
    let mut cluster: serde_json::Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    cluster["recovering"] = "member-1".into();
    std::fs::write(&file, cluster.to_string())?;
    let refused = world.cluster.up(world.shape, &world.flags()).err().map(|error| error.to_string());
    assert!(refused.as_ref().is_some_and(|text| text.contains("a recovery of the store was cut short")), "{refused:?}");
    let told = world.cluster.keelson("store", &recover)?.stdout;
    assert!(told.contains("Next: keelson up"), "{told}");
    world.shape = Shape { members: 1, ..world.shape };
    world.cluster.up(world.shape, &world.flags())?;

    let word = kubectl.run("get configmap kept --output=jsonpath={.data.word}")?;
    assert_eq!(word, "acknowledged");
    let list = ["member".to_owned(), "list".to_owned()];
    let members = world.cluster.keelson("store", &list)?.stdout;
    assert_eq!(members.matches("voter").count(), 1, "{members}");
    kubectl.run("create configmap new --from-literal=word=written")?;

    // It grows again, and survives the loss of the one that it grew from.
    world.shape = Shape { members: 3, ..world.shape };
    world.cluster.up(world.shape, &world.flags())?;
    let members = world.cluster.keelson("store", &list)?.stdout;
    assert_eq!(members.matches("voter").count(), 3, "{members}");
    kill(Pid::from_raw(world.cluster.pid_of("raftstore-member-1")?), Signal::SIGKILL)?;
    eventually("a write is acknowledged after that", || {
        kubectl.run("create configmap newer --from-literal=word=written")
    })?;
    let kept = kubectl.run("get configmap kept new newer --output=jsonpath={.items[*].data.word}")?;
    assert_eq!(kept, "acknowledged written written");
    Ok(())
}
