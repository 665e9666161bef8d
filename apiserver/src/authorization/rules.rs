//! The rules of the cluster's own identities, as data.

use super::{Attributes, Authorizer, Decision};
use crate::authentication::User;

/// Who a rule is for.
enum Subject {
    User(&'static str),
    Group(&'static str),
}

struct Rule {
    subject: Subject,
    /// Resources with their subresources ("pods/status"), in any of the groups that `groups` names; "*" is all.
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
    /// Empty: everywhere.
    namespaces: &'static [&'static str],
}

const ALL: &[&str] = &["*"];
const READ: &[&str] = &["get", "list", "watch"];
const EVENTS: &[&str] = &["create", "patch", "update"];
const NODES: Subject = Subject::Group("system:nodes");
const SCHEDULER: Subject = Subject::User("system:kube-scheduler");
const CONTROLLERS: Subject = Subject::User("system:kube-controller-manager");

const fn rule(
    subject: Subject,
    groups: &'static [&'static str],
    resources: &'static [&'static str],
    verbs: &'static [&'static str],
) -> Rule {
    Rule { subject, groups, resources, verbs, namespaces: &[] }
}

const RULES: &[Rule] = &[
    // Upstream gives each controller a role of its own; together they cover about everything.
    rule(CONTROLLERS, ALL, ALL, ALL),
    rule(SCHEDULER, &["", "events.k8s.io"], &["events"], EVENTS),
    rule(SCHEDULER, &["coordination.k8s.io"], &["leases"], &["create", "get", "list", "patch", "update", "watch"]),
    rule(SCHEDULER, &[""], &["pods/binding", "bindings"], &["create"]),
    rule(SCHEDULER, &[""], &["pods/status"], &["patch", "update"]),
    rule(SCHEDULER, &[""], &["pods"], &["delete", "get", "list", "watch"]),
    rule(
        SCHEDULER,
        ALL,
        &[
            "nodes",
            "namespaces",
            "services",
            "replicationcontrollers",
            "replicasets",
            "statefulsets",
            "persistentvolumeclaims",
            "persistentvolumes",
            "poddisruptionbudgets",
            "storageclasses",
            "csinodes",
            "csidrivers",
            "csistoragecapacities",
            "priorityclasses",
            "configmaps",
        ],
        READ,
    ),
    rule(NODES, &[""], &["nodes"], &["create", "get", "list", "watch", "update", "patch"]),
    rule(NODES, &[""], &["nodes/status"], &["get", "patch", "update"]),
    rule(NODES, &[""], &["pods"], &["get", "list", "watch", "create", "delete"]),
    rule(NODES, &[""], &["pods/status"], &["get", "patch", "update"]),
    rule(NODES, &[""], &["pods/eviction", "serviceaccounts/token"], &["create"]),
    rule(NODES, &[""], &["services", "endpoints", "namespaces", "configmaps", "secrets", "serviceaccounts"], READ),
    rule(NODES, &[""], &["persistentvolumeclaims", "persistentvolumes"], READ),
    rule(NODES, &["discovery.k8s.io"], &["endpointslices"], READ),
    rule(NODES, &["", "events.k8s.io"], &["events"], EVENTS),
    rule(NODES, &["node.k8s.io"], &["runtimeclasses"], READ),
    rule(NODES, &["storage.k8s.io"], &["csinodes", "csidrivers", "storageclasses", "volumeattachments"], READ),
    Rule {
        subject: NODES,
        groups: &["coordination.k8s.io"],
        resources: &["leases"],
        verbs: &["create", "get", "list", "watch", "update", "patch", "delete"],
        namespaces: &["kube-node-lease"],
    },
];

/// Paths that everybody who is somebody may read.
const DISCOVERY: &[&str] = &["/api", "/apis", "/openapi", "/version", "/healthz", "/livez", "/readyz"];
/// Paths that need no identity at all.
const PUBLIC: &[&str] = &["/version", "/healthz", "/livez", "/readyz"];

/// The fixed rules; see the module.
pub struct SystemRules;

impl Authorizer for SystemRules {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let user = attributes.user;
        let allowed = user.in_group(User::MASTERS)
            || if attributes.path.is_empty() {
                RULES.iter().any(|rule| rule.allows(attributes))
            } else {
                let paths = if user.in_group(User::AUTHENTICATED) { DISCOVERY } else { PUBLIC };
                matches!(attributes.verb, "get" | "head") && paths.iter().any(|path| is_under(attributes.path, path))
            };
        if allowed { Decision::Allowed } else { Decision::Denied(String::new()) }
    }
}

fn is_under(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Rule {
    fn allows(&self, attributes: &Attributes<'_>) -> bool {
        let subject = match self.subject {
            Subject::User(name) => attributes.user.name == name,
            Subject::Group(name) => attributes.user.in_group(name),
        };
        let resource = |rule: &str| {
            rule == "*"
                || match rule.split_once('/') {
                    Some((resource, subresource)) => {
                        resource == attributes.resource && subresource == attributes.subresource
                    }
                    None => rule == attributes.resource && attributes.subresource.is_empty(),
                }
        };
        let one_of = |list: &[&str], text: &str| list.iter().any(|item| *item == "*" || *item == text);
        subject
            && one_of(self.verbs, attributes.verb)
            && one_of(self.groups, attributes.group)
            && self.resources.iter().any(|rule| resource(rule))
            && (self.namespaces.is_empty() || one_of(self.namespaces, attributes.namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::denial, *};

    #[test]
    fn rules_allow_what_they_name_and_nothing_else() {
        let node = User::new("system:node:a", &["system:nodes", User::AUTHENTICATED]);
        let admin = User::new("kubernetes-admin", &[User::MASTERS]);
        let bob = User::new("bob", &[User::AUTHENTICATED]);
        let table = [
            (&admin, "delete", "", "secrets", "", "x", true),
            (&node, "patch", "", "nodes", "status", "", true),
            (&node, "delete", "", "nodes", "", "", false),
            (&node, "update", "coordination.k8s.io", "leases", "", "kube-node-lease", true),
            (&node, "update", "coordination.k8s.io", "leases", "", "default", false),
            (&bob, "list", "", "pods", "", "default", false),
        ];
        for (user, verb, group, resource, subresource, namespace, expected) in table {
            let attributes = Attributes { user, verb, group, resource, subresource, namespace, name: "", path: "" };
            let decision = SystemRules.authorize(&attributes);
            assert_eq!(decision == Decision::Allowed, expected, "{} {verb} {resource}", user.name);
        }
    }

    #[test]
    fn denials_read_as_upstreams() {
        let bob = User::new("bob", &[]);
        let mut attributes = Attributes {
            user: &bob,
            verb: "list",
            group: "",
            resource: "pods",
            subresource: "",
            namespace: "default",
            name: "",
            path: "",
        };
        let text = r#"User "bob" cannot list resource "pods" in API group "" in the namespace "default""#;
        assert_eq!(denial(&attributes, ""), text);
        attributes.namespace = "";
        attributes.subresource = "status";
        let text = r#"User "bob" cannot list resource "pods/status" in API group "" at the cluster scope"#;
        assert_eq!(denial(&attributes, ""), text);
        attributes.path = "/metrics";
        assert_eq!(denial(&attributes, ""), r#"User "bob" cannot list path "/metrics""#);
    }
}
