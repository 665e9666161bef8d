//! TaintNodesByCondition: a new node takes no pods before it has been seen ready.

use async_trait::async_trait;
use keelson_objects::status::StatusError;
use serde_json::{Value, json};

use crate::kinds::fields::{Fields, FieldsMut};
use crate::pipeline::{Attributes, Operation, Plugin};
use crate::registry::Kind;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub struct TaintNodesByCondition;

#[async_trait]
impl Plugin for TaintNodesByCondition {
    fn name(&self) -> &'static str {
        "TaintNodesByCondition"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        operation == Operation::Create && kind.group.is_empty() && kind.resource == "nodes" && subresource.is_empty()
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), StatusError> {
        taint(attributes.object);
        Ok(())
    }
}

fn taint(node: &mut Value) {
    let spec = node.object("spec");
    let is_tainted = |taint: &Value| taint.text("key") == NOT_READY && taint.text("effect") == "NoSchedule";
    if spec.items("taints").iter().any(is_tainted) {
        return;
    }
    let mut taints = spec.items("taints").to_vec();
    taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
    spec.put("taints", taints);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_node_is_tainted_once() {
        let mut node = json!({"metadata": {"name": "n"}});
        taint(&mut node);
        taint(&mut node);
        assert_eq!(node.sub("spec").items("taints"), [json!({"key": NOT_READY, "effect": "NoSchedule"})]);
    }
}
