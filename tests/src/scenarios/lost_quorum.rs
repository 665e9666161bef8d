//! Most members of the store are lost with their disks: one command makes a cluster of the one that is left.

use super::World;
use crate::harness::{Result, Scenario, Shape};

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
    let told = world.cluster.keelson("store", &recover)?.stdout;
    assert!(told.contains("Next: keelson up"), "{told}");
    world.shape = Shape { members: 1, ..world.shape };
    world.cluster.up(world.shape, &world.flags())?;

    let word = kubectl.run("get configmap kept --output=jsonpath={.data.word}")?;
    assert_eq!(word, "acknowledged");
    let members = world.cluster.keelson("store", &["member".to_owned(), "list".to_owned()])?.stdout;
    assert_eq!(members.matches("voter").count(), 1, "{members}");
    kubectl.run("create configmap new --from-literal=word=written").map(drop)
}
