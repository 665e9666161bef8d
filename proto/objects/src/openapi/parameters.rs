//! Query and path parameters of operations, as a table.

use serde_json::{Value, json};

use super::definitions::Dialect;

pub(super) struct Parameter {
    pub name: &'static str,
    kind: &'static str,
    place: &'static str,
    description: &'static str,
}

const fn query(name: &'static str, kind: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind, place: "query", description }
}

pub(super) static PRETTY: Parameter = query("pretty", "string", "If 'true', the answer is indented.");
pub(super) static NAMESPACE: Parameter =
    Parameter { name: "namespace", kind: "string", place: "path", description: "namespace of the object" };
pub(super) static NAME: Parameter =
    Parameter { name: "name", kind: "string", place: "path", description: "name of the object" };

/// Of POST, PUT and PATCH. kubectl looks for `fieldValidation` and `dryRun` on PATCH to learn what the server can do.
pub(super) static WRITE: &[Parameter] = &[
    query("dryRun", "string", "Runs all steps of the request but does not persist it. The only value is All."),
    query("fieldManager", "string", "Names who makes the change; at most 128 printable characters."),
    query(
        "fieldValidation",
        "string",
        "What to do with unknown and duplicate fields: Ignore drops them, Warn drops them with a warning each (the default), Strict refuses the request.",
    ),
];

pub(super) static FORCE: Parameter =
    query("force", "boolean", "Takes over fields that others own. For apply patches only.");

pub(super) static LIST: &[Parameter] = &[
    query("allowWatchBookmarks", "boolean", "Asks for BOOKMARK events on a watch."),
    query("continue", "string", "Where to go on, as a previous list with the same query said."),
    query("fieldSelector", "string", "Restricts the answer by fields."),
    query("labelSelector", "string", "Restricts the answer by labels."),
    query("limit", "integer", "At most so many items; the answer's `continue` leads to the rest."),
    query("resourceVersion", "string", "Constrains the versions that the answer may come from."),
    query("resourceVersionMatch", "string", "How resourceVersion is applied: Exact or NotOlderThan."),
    query(
        "sendInitialEvents",
        "boolean",
        "Begins a watch with the present state, followed by a bookmark with the annotation k8s.io/initial-events-end.",
    ),
    query("timeoutSeconds", "integer", "Ends the list or watch after so long."),
    query("watch", "boolean", "Watches for changes instead of listing."),
];

pub(super) static DELETE: &[Parameter] = &[
    query("dryRun", "string", "Runs all steps of the request but does not persist it. The only value is All."),
    query("gracePeriodSeconds", "integer", "Seconds until the object is deleted; 0 deletes at once."),
    query("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    query("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground."),
];

impl Parameter {
    pub fn write(&self, dialect: Dialect) -> Value {
        let mut out = json!({"name": self.name, "in": self.place, "description": self.description});
        if self.place == "path" {
            out["required"] = Value::Bool(true);
        }
        match dialect {
            Dialect::V2 => {
                out["type"] = Value::from(self.kind);
                out["uniqueItems"] = Value::Bool(true);
            }
            Dialect::V3 => out["schema"] = json!({"type": self.kind, "uniqueItems": true}),
        }
        out
    }
}
