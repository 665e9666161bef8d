//! The admission surface: what a plugin sees, and the order in which plugins run.
//!
//! Plugins live in `admission/`. Mutating calls run in chain order, then the object is defaulted again and validated,
//! then the validating calls run in the same order. A plugin that says through `handles` that it has no
//! interest costs nothing.

use std::sync::Arc;

use async_trait::async_trait;
use keelson_objects::status::StatusError;
use serde_json::Value;

use crate::{authentication::User, cluster::Cluster, registry::Kind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// A request as admission sees it.
pub struct Attributes<'a> {
    pub operation: Operation,
    pub kind: &'a Arc<Kind>,
    /// Empty for the main resource.
    pub subresource: &'a str,
    /// Empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Empty on a create with generateName until the name is made (which is before admission), and on deletecollection.
    pub name: &'a str,
    /// The new object; null for Delete.
    pub object: &'a mut Value,
    /// The stored object for Update and Delete.
    pub old_object: Option<&'a Value>,
    pub user: &'a User,
    pub dry_run: bool,
    /// Texts for the Warning header.
    pub warnings: &'a mut Vec<String>,
    pub cluster: &'a Cluster,
    /// RFC 3339 in whole seconds.
    pub now: &'a str,
}

#[async_trait]
pub trait Plugin: Send + Sync + 'static {
    /// Upstream's name of the plugin, as `--enable-admission-plugins` spells it.
    fn name(&self) -> &'static str;

    fn handles(&self, operation: Operation, kind: &Kind, subresource: &str) -> bool;

    /// May change `attributes.object`.
    async fn admit(&self, _attributes: &mut Attributes<'_>) -> Result<(), StatusError> {
        Ok(())
    }

    /// Sees the final object and must not change it.
    async fn validate(&self, _attributes: &Attributes<'_>) -> Result<(), StatusError> {
        Ok(())
    }
}

/// The plugins in their order.
#[derive(Default, Clone)]
pub struct Chain {
    plugins: Vec<Arc<dyn Plugin>>,
}

impl Chain {
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Chain {
        Chain { plugins }
    }

    /// True when some plugin saw the object, so that it must be defaulted again.
    pub async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<bool, StatusError> {
        let mut called = false;
        for plugin in &self.plugins {
            if plugin.handles(attributes.operation, attributes.kind, attributes.subresource) {
                plugin.admit(attributes).await?;
                called = true;
            }
        }
        Ok(called)
    }

    pub async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), StatusError> {
        for plugin in &self.plugins {
            if plugin.handles(attributes.operation, attributes.kind, attributes.subresource) {
                plugin.validate(attributes).await?;
            }
        }
        Ok(())
    }
}
