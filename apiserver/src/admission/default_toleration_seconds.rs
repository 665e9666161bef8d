//! DefaultTolerationSeconds: a pod stays five minutes on a node that is not ready or cannot be reached, unless it says
//! otherwise.

use async_trait::async_trait;
use keelson_objects::status::StatusError;
use serde_json::{Value, json};

use super::is_pod;
use crate::kinds::fields::{Fields, FieldsMut};
use crate::pipeline::{Attributes, Operation, Plugin};
use crate::registry::Kind;

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

pub struct DefaultTolerationSeconds;

#[async_trait]
impl Plugin for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        is_pod(kind) && matches!(operation, Operation::Create | Operation::Update) && subresource.is_empty()
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), StatusError> {
        add(attributes.object);
        Ok(())
    }
}

fn add(pod: &mut Value) {
    let spec = pod.object("spec");
    let mut tolerations = spec.items("tolerations").to_vec();
    let before = tolerations.len();
    for taint in TAINTS {
        let tolerates =
            |toleration: &Value| matches!(toleration.text("key"), "" | "*") || toleration.text("key") == taint;
        let for_eviction = |toleration: &Value| matches!(toleration.text("effect"), "" | "NoExecute");
        if !tolerations.iter().any(|toleration| tolerates(toleration) && for_eviction(toleration)) {
            tolerations.push(
                json!({ "key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS }),
            );
        }
    }
    if tolerations.len() > before {
        spec.put("tolerations", tolerations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_minutes_unless_the_pod_says_otherwise() {
        let mut plain = json!({"spec": {}});
        add(&mut plain);
        assert_eq!(plain.sub("spec").items("tolerations").len(), 2);
        let once = plain.clone();
        add(&mut plain);
        assert_eq!(plain, once);

        let mut everything = json!({"spec": {"tolerations": [{"operator": "Exists"}]}});
        add(&mut everything);
        assert_eq!(everything.sub("spec").items("tolerations").len(), 1);

        let mut scheduling =
            json!({"spec": {"tolerations": [{"key": TAINTS[0], "operator": "Exists", "effect": "NoSchedule"}]}});
        add(&mut scheduling);
        assert_eq!(scheduling.sub("spec").items("tolerations").len(), 3);
    }
}
