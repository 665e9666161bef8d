//! The admission plugins, under upstream's names and in upstream's order.
//!
//! Each is a small rule about one thing; what they share of the cluster they read from the watch cache.

mod default_toleration_seconds;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod taint_nodes_by_condition;

use std::sync::Arc;

use keelson_objects::status::{GroupResource, StatusError};

use crate::pipeline::{Attributes, Chain};
use crate::settings::Settings;

/// Every plugin that this server has, in the order in which they run.
pub fn default_chain(_settings: &Settings) -> Chain {
    Chain::new(vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle),
        Arc::new(service_account::ServiceAccount),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(taint_nodes_by_condition::TaintNodesByCondition),
        Arc::new(priority::Priority),
        Arc::new(default_toleration_seconds::DefaultTolerationSeconds),
    ])
}

/// `pods "web" is forbidden: <why>`.
fn forbidden(attributes: &Attributes<'_>, why: impl std::fmt::Display) -> StatusError {
    let resource = GroupResource::new(&attributes.kind.group, &attributes.kind.resource);
    StatusError::forbidden(&resource, attributes.name, why)
}

fn is_pod(kind: &crate::registry::Kind) -> bool {
    kind.group.is_empty() && kind.resource == "pods"
}
