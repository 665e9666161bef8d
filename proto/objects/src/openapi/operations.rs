//! Paths and their operations, for each served resource.

use serde_json::{Map, Value, json};

use super::definitions::{Dialect, PATCH};
use super::parameters::{DELETE, FORCE, LIST, NAME, NAMESPACE, PRETTY, Parameter, WRITE};
use super::resource::{Resource, capital};
use crate::schema::builtin;

const STATUS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Status";
const DELETE_OPTIONS: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions";
const PRODUCES: &[&str] = &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
const WATCH_PRODUCES: &[&str] = &["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
const PATCHES: &[&str] = &[
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// One way to call a path.
struct Operation {
    method: &'static str,
    /// The start of the operation's id.
    verb: &'static str,
    action: &'static str,
    parameters: Vec<&'static Parameter>,
    body: Option<String>,
    answer: String,
    codes: &'static [(&'static str, &'static str)],
}

const OK: (&str, &str) = ("200", "OK");
const CREATED: (&str, &str) = ("201", "Created");
const ACCEPTED: (&str, &str) = ("202", "Accepted");

/// All paths of a resource with their path items, and the names of the definitions that they use.
pub(super) struct Paths {
    pub items: Vec<(String, Value)>,
    pub definitions: Vec<String>,
}

/// The definition's name of a kind, built in or the resource's own.
fn definition_name(resource: &Resource, group: &str, version: &str, kind: &str) -> String {
    if resource.custom_schema.is_some()
        && (group, version, kind) == (&resource.group, &resource.version, &resource.kind)
    {
        return resource.custom_name();
    }
    let found = builtin().kind(group, version, kind).and_then(|schema| schema.type_name());
    found.map_or_else(|| resource.custom_name(), str::to_owned)
}

pub(super) fn paths(resource: &Resource, dialect: Dialect) -> Paths {
    let own = definition_name(resource, &resource.group, &resource.version, &resource.kind);
    let list = match builtin().kind(&resource.group, &resource.version, &format!("{}List", resource.kind)) {
        Some(schema) if resource.custom_schema.is_none() => schema.type_name().unwrap_or_default().to_owned(),
        _ => format!("{own}List"),
    };
    let has = |verb: &str| resource.verbs.iter().any(|served| served == verb);
    let gvk = json!({"group": resource.group, "kind": resource.kind, "version": resource.version});
    let base = format!("/{}", resource.base_path());
    let scoped = if resource.namespaced { format!("{base}/namespaces/{{namespace}}") } else { base.clone() };
    let scope_word = if resource.namespaced { "Namespaced" } else { "" };
    let writer = Writer { resource, dialect };
    let mut items = Vec::new();

    let mut collection = Vec::new();
    if has("list") {
        collection.push(listing(&list));
    }
    if has("create") {
        collection.push(Operation {
            method: "post",
            verb: "create",
            action: "post",
            parameters: WRITE.iter().collect(),
            body: Some(own.clone()),
            answer: own.clone(),
            codes: &[OK, CREATED, ACCEPTED],
        });
    }
    if has("deletecollection") {
        collection.push(Operation {
            method: "delete",
            verb: "deletecollection",
            action: "deletecollection",
            parameters: DELETE.iter().chain(LIST.iter().filter(|listed| listed.name != "watch")).collect(),
            body: Some(DELETE_OPTIONS.to_owned()),
            answer: STATUS.to_owned(),
            codes: &[OK],
        });
    }
    let namespace = resource.namespaced.then_some(&NAMESPACE);
    let shared: Vec<&Parameter> = namespace.into_iter().chain([&PRETTY]).collect();
    let name = format!("{scope_word}{}", resource.kind);
    items.push((format!("{scoped}/{}", resource.resource), writer.item(&collection, &shared, &name, &gvk)));
    if resource.namespaced && has("list") {
        let name = format!("{}ForAllNamespaces", resource.kind);
        let item = writer.item(&[listing(&list)], &[&PRETTY], &name, &gvk);
        items.push((format!("{base}/{}", resource.resource), item));
    }

    let mut single = named_operations(&has, &own);
    if has("delete") {
        single.push(Operation {
            method: "delete",
            verb: "delete",
            action: "delete",
            parameters: DELETE.iter().collect(),
            body: Some(DELETE_OPTIONS.to_owned()),
            answer: STATUS.to_owned(),
            codes: &[OK, ACCEPTED],
        });
    }
    let named: Vec<&Parameter> = [&NAME].into_iter().chain(shared.iter().copied()).collect();
    if !single.is_empty() {
        let item = writer.item(&single, &named, &name, &gvk);
        items.push((format!("{scoped}/{}/{{name}}", resource.resource), item));
    }

    let mut definitions = vec![own, list, STATUS.to_owned(), DELETE_OPTIONS.to_owned(), PATCH.to_owned()];
    for subresource in &resource.subresources {
        let body = definition_name(resource, &subresource.group, &subresource.version, &subresource.kind);
        let has = |verb: &str| subresource.verbs.iter().any(|served| served == verb);
        let mut operations = named_operations(&has, &body);
        if has("create") {
            operations.push(Operation {
                method: "post",
                verb: "create",
                action: "post",
                parameters: WRITE.iter().collect(),
                body: Some(body.clone()),
                answer: body.clone(),
                codes: &[OK, CREATED, ACCEPTED],
            });
        }
        let gvk = json!({"group": subresource.group, "kind": subresource.kind, "version": subresource.version});
        let name = format!("{name}{}", capital(&subresource.name));
        let item = writer.item(&operations, &named, &name, &gvk);
        items.push((format!("{scoped}/{}/{{name}}/{}", resource.resource, subresource.name), item));
        definitions.push(body);
    }
    Paths { items, definitions }
}

fn listing(list: &str) -> Operation {
    Operation {
        method: "get",
        verb: "list",
        action: "list",
        parameters: LIST.iter().collect(),
        body: None,
        answer: list.to_owned(),
        codes: &[OK],
    }
}

/// What an object and its subresources have in common: get, update, patch.
fn named_operations(has: &dyn Fn(&str) -> bool, body: &str) -> Vec<Operation> {
    let mut operations = Vec::new();
    if has("get") {
        operations.push(Operation {
            method: "get",
            verb: "read",
            action: "get",
            parameters: Vec::new(),
            body: None,
            answer: body.to_owned(),
            codes: &[OK],
        });
    }
    if has("update") {
        operations.push(Operation {
            method: "put",
            verb: "replace",
            action: "put",
            parameters: WRITE.iter().collect(),
            body: Some(body.to_owned()),
            answer: body.to_owned(),
            codes: &[OK, CREATED],
        });
    }
    if has("patch") {
        operations.push(Operation {
            method: "patch",
            verb: "patch",
            action: "patch",
            parameters: WRITE.iter().chain([&FORCE]).collect(),
            body: Some(PATCH.to_owned()),
            answer: body.to_owned(),
            codes: &[OK, CREATED],
        });
    }
    operations
}

struct Writer<'a> {
    resource: &'a Resource,
    dialect: Dialect,
}

impl Writer<'_> {
    fn item(&self, operations: &[Operation], shared: &[&Parameter], name: &str, gvk: &Value) -> Value {
        let mut out = Map::new();
        for operation in operations {
            out.insert(operation.method.to_owned(), self.operation(operation, name, gvk));
        }
        let shared: Vec<Value> = shared.iter().map(|parameter| parameter.write(self.dialect)).collect();
        out.insert("parameters".to_owned(), Value::Array(shared));
        Value::Object(out)
    }

    fn operation(&self, operation: &Operation, name: &str, gvk: &Value) -> Value {
        let mut parameters: Vec<Value> =
            operation.parameters.iter().map(|parameter| parameter.write(self.dialect)).collect();
        let kind = &self.resource.kind;
        let description = match operation.action {
            "list" => format!("list or watch objects of kind {kind}"),
            "post" => format!("create {kind}"),
            "deletecollection" => format!("delete a collection of {kind}"),
            "get" => format!("read the specified {kind}"),
            "put" => format!("replace the specified {kind}"),
            "patch" => format!("update parts of the specified {kind}"),
            _ => format!("delete {kind}"),
        };
        let mut out = json!({
            "description": description,
            "operationId": format!("{}{}{name}", operation.verb, self.resource.id_part()),
            "tags": [self.resource.tag()],
            "x-kubernetes-action": operation.action,
            "x-kubernetes-group-version-kind": gvk,
        });
        let is_list = operation.action == "list";
        let produces: Vec<&str> = PRODUCES.iter().chain(if is_list { WATCH_PRODUCES } else { &[] }).copied().collect();
        let is_patch = operation.action == "patch";
        let consumes: &[&str] = if is_patch { PATCHES } else { &["*/*"] };
        let answer = json!({"$ref": self.dialect.reference(&operation.answer)});
        let body = operation.body.as_ref().map(|body| json!({"$ref": self.dialect.reference(body)}));
        // A body of delete options may be left out.
        let is_required = !operation.action.starts_with("delete");
        let mut responses = Map::new();
        match self.dialect {
            Dialect::V2 => {
                if let Some(body) = body {
                    let mut parameter = json!({"in": "body", "name": "body", "schema": body});
                    if is_required {
                        parameter["required"] = Value::Bool(true);
                    }
                    parameters.insert(0, parameter);
                }
                out["consumes"] = json!(consumes);
                out["produces"] = json!(produces);
                out["schemes"] = json!(["https"]);
                for (code, text) in operation.codes {
                    responses.insert((*code).to_owned(), json!({"description": text, "schema": answer}));
                }
            }
            Dialect::V3 => {
                if let Some(body) = body {
                    let content: Map<String, Value> =
                        consumes.iter().map(|media| ((*media).to_owned(), json!({"schema": body}))).collect();
                    out["requestBody"] = json!({"content": content});
                    if is_required {
                        out["requestBody"]["required"] = Value::Bool(true);
                    }
                }
                let content: Map<String, Value> =
                    produces.iter().map(|media| ((*media).to_owned(), json!({"schema": answer}))).collect();
                for (code, text) in operation.codes {
                    responses.insert((*code).to_owned(), json!({"description": text, "content": content}));
                }
            }
        }
        responses.insert("401".to_owned(), json!({"description": "Unauthorized"}));
        out["responses"] = Value::Object(responses);
        if !parameters.is_empty() {
            out["parameters"] = Value::Array(parameters);
        }
        out
    }
}
