//! Priority: a pod's priority as a number, from the name of its class.
//!
//! The two system classes are known here; PriorityClass objects are not served yet, so any other name is unknown.

use async_trait::async_trait;
use keelson_objects::status::StatusError;
use serde_json::Value;

use super::{forbidden, is_pod};
use crate::kinds::fields::{Fields, FieldsMut};
use crate::pipeline::{Attributes, Operation, Plugin};
use crate::registry::Kind;

const SYSTEM_CLASSES: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const PREEMPTION: &str = "PreemptLowerPriority";

pub struct Priority;

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        is_pod(kind) && matches!(operation, Operation::Create | Operation::Update) && subresource.is_empty()
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), StatusError> {
        // an update that leaves the number out means the number that is there
        if let Some(old) = attributes.old_object {
            for field in ["priority", "preemptionPolicy"] {
                let before = old.sub("spec").sub(field).clone();
                if !before.is_null() {
                    attributes.object.object("spec").put_if_absent(field, before);
                }
            }
            return Ok(());
        }
        resolve(attributes.object).map_err(|why| forbidden(attributes, why))
    }
}

fn resolve(pod: &mut Value) -> Result<(), String> {
    let spec = pod.object("spec");
    let class = spec.text("priorityClassName").to_owned();
    let priority = match class.as_str() {
        "" => 0,
        class => match SYSTEM_CLASSES.iter().find(|(name, _)| *name == class) {
            Some((_, priority)) => *priority,
            None => return Err(format!("no PriorityClass with name {class} was found")),
        },
    };
    if let Some(given) = spec.int("priority").filter(|given| *given != priority) {
        return Err(format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
        ));
    }
    let policy = spec.text("preemptionPolicy");
    if !policy.is_empty() && policy != PREEMPTION {
        return Err(format!(
            "the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; priority admission controller computed {PREEMPTION} from the given PriorityClass name"
        ));
    }
    spec.put("priority", priority);
    spec.put("preemptionPolicy", PREEMPTION);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn classes_become_numbers() {
        let priority = |spec: Value| {
            let mut pod = json!({ "spec": spec });
            resolve(&mut pod).map(|()| pod.sub("spec").int("priority").unwrap_or(-1))
        };
        assert_eq!(priority(json!({})), Ok(0));
        assert_eq!(priority(json!({"priority": 0})), Ok(0));
        assert_eq!(priority(json!({"priorityClassName": "system-node-critical"})), Ok(2_000_001_000));
        assert_eq!(
            priority(json!({"priorityClassName": "gold"})),
            Err("no PriorityClass with name gold was found".to_owned())
        );
        assert!(priority(json!({"priority": 7})).is_err());
        assert!(priority(json!({"preemptionPolicy": "Never"})).is_err());
    }
}
