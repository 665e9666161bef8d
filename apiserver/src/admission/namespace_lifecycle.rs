//! NamespaceLifecycle: nothing is made in a namespace that does not exist or that is going, and the system's own
//! namespaces stay.

use async_trait::async_trait;
use keelson_objects::status::{GroupResource, StatusError};

use super::forbidden;
use crate::pipeline::{Attributes, Operation, Plugin};
use crate::registry::Kind;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub struct NamespaceLifecycle;

#[async_trait]
impl Plugin for NamespaceLifecycle {
    fn name(&self) -> &'static str {
        "NamespaceLifecycle"
    }

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool {
        if is_namespace(kind) {
            return operation == Operation::Delete && subresource.is_empty();
        }
        kind.namespaced() && matches!(operation, Operation::Create | Operation::Update)
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), StatusError> {
        if is_namespace(attributes.kind) {
            return match IMMORTAL.contains(&attributes.name) {
                true => Err(forbidden(attributes, "this namespace may not be deleted")),
                false => Ok(()),
            };
        }
        let name = attributes.namespace;
        // a namespace made a moment ago may not have reached the cache yet
        let entry = match attributes.cluster.cached("", "namespaces", "", name) {
            Some(entry) => entry,
            None => match attributes.cluster.current("", "namespaces", "", name).await? {
                Some(entry) => entry,
                None => return Err(StatusError::not_found(&GroupResource::new("", "namespaces"), name)),
            },
        };
        // every create passes here: the phase is at hand, the object would have to be parsed
        let kind = attributes.cluster.registry().find_resource("", "namespaces");
        let phase = kind.and_then(|kind| entry.field(kind, "status.phase"));
        if attributes.operation == Operation::Create && phase == Some("Terminating") {
            let why = format!("unable to create new content in namespace {name} because it is being terminated");
            let message = format!("namespace {name} is being terminated");
            return Err(forbidden(attributes, why).with_cause("NamespaceTerminating", message, "metadata.namespace"));
        }
        Ok(())
    }
}

fn is_namespace(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.resource == "namespaces"
}
