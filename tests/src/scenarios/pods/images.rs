//! Images by digest, and what each pull policy does.

use serde_json::json;

use super::{create, event, phase, shows};
use crate::harness::{Result, Scenario, busybox, digest};
use crate::scenarios::World;

pub const SCENARIOS: [Scenario<World>; 1] = [Scenario { name: "pods-images-and-pull-policies", run: images }];

fn images(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("images")?;
    let by_digest = world.image(&format!("busybox@{}", digest(&busybox()?.manifest)))?;
    let spec = |image: &str, policy: &str| {
        json!({
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "nodeName": "node-1",
            "containers": [{ "name": "main", "image": image, "imagePullPolicy": policy, "command": ["true"] }],
        })
    };
    create(&kubectl, "by-digest", spec(&by_digest, "IfNotPresent"))?;
    create(&kubectl, "always", spec(&world.image("busybox:1")?, "Always"))?;
    create(&kubectl, "never", spec(&world.image("busybox:never")?, "Never"))?;
    phase(&kubectl, "by-digest", "Succeeded")?;
    shows(&kubectl, "by-digest", "/status/containerStatuses/0/imageID", &json!(by_digest))?;
    phase(&kubectl, "always", "Succeeded")?;
    event(&kubectl, "always", "Pulled", "Successfully pulled image")?;
    create(&kubectl, "present", spec(&world.image("busybox:1")?, "IfNotPresent"))?;
    create(&kubectl, "kept", spec(&world.image("busybox:1")?, "Never"))?;
    phase(&kubectl, "present", "Succeeded")?;
    event(&kubectl, "present", "Pulled", "already present on machine")?;
    phase(&kubectl, "kept", "Succeeded")?;
    shows(&kubectl, "never", "/status/containerStatuses/0/state/waiting/reason", &json!("ErrImageNeverPull"))?;
    event(&kubectl, "never", "ErrImageNeverPull", "is not present with pull policy of Never")?;
    kubectl.run("delete pods --all").map(drop)
}
