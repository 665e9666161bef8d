//! May they? The authorizer's interface, and the fixed rules of the cluster's own identities.
//!
//! Until RBAC objects are served, [`SystemRules`] is the only mode: `system:masters` may do everything, each
//! component what its upstream bootstrap role says in substance, and nobody else anything beyond discovery.

mod rules;

pub use rules::SystemRules;

use crate::authentication::User;

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct Attributes<'a> {
    pub user: &'a User,
    /// A verb of the API, or an HTTP method in lower case for a path that is no resource.
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
    /// Set for paths that are no resources, and then the rest is empty.
    pub path: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Allowed,
    /// With a reason for the message, mostly empty.
    Denied(String),
}

/// One authorization mode.
pub trait Authorizer: Send + Sync + 'static {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision;
}

/// Why, in upstream's words: `User "x" cannot list resource "pods" in API group "" in the namespace "default"`.
pub fn denial(attributes: &Attributes<'_>, reason: &str) -> String {
    let user = &attributes.user.name;
    let mut text = if attributes.path.is_empty() {
        let resource = match attributes.subresource {
            "" => attributes.resource.to_owned(),
            subresource => format!("{}/{subresource}", attributes.resource),
        };
        let scope = match attributes.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "User {user:?} cannot {} resource {resource:?} in API group {:?} {scope}",
            attributes.verb, attributes.group
        )
    } else {
        format!("User {user:?} cannot {} path {:?}", attributes.verb, attributes.path)
    };
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}
