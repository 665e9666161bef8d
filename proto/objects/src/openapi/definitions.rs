//! Definitions of types, in the dialect of OpenAPI v2 or v3.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::descriptions::Descriptions;
use crate::schema::{Definitions, Field, FieldFlags, NodeId, SchemaRef, Shape, TypeId, builtin};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    pub fn reference(self, name: &str) -> String {
        match self {
            Dialect::V2 => format!("#/definitions/{name}"),
            Dialect::V3 => format!("#/components/schemas/{name}"),
        }
    }
}

/// The body of a PATCH.
pub(super) const PATCH: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch";

/// Shapes that are definitions of their own: name, then what v2 and v3 say of them.
fn special(shape: Shape) -> Option<&'static str> {
    Some(match shape {
        Shape::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        Shape::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        Shape::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        Shape::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        Shape::RawObject => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        Shape::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        Shape::Json => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        Shape::PropsOrArray => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray",
        Shape::PropsOrBool => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool",
        Shape::PropsOrStringArray => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        _ => return None,
    })
}

const SPECIAL: &[Shape] = &[
    Shape::Quantity,
    Shape::IntOrString,
    Shape::Time,
    Shape::MicroTime,
    Shape::RawObject,
    Shape::FieldsV1,
    Shape::Json,
    Shape::PropsOrArray,
    Shape::PropsOrBool,
    Shape::PropsOrStringArray,
];

/// Writes definitions of built-in types, and remembers which others they mention.
pub(super) struct Writer<'a> {
    dialect: Dialect,
    descriptions: &'a Descriptions,
    definitions: &'static Definitions,
    /// Names mentioned so far.
    pub mentioned: BTreeSet<&'static str>,
}

impl<'a> Writer<'a> {
    pub fn new(dialect: Dialect, descriptions: &'a Descriptions) -> Writer<'a> {
        Writer { dialect, descriptions, definitions: builtin(), mentioned: BTreeSet::new() }
    }

    /// The definition of a name; `None` for a name that is not built in.
    pub fn definition(&mut self, name: &str) -> Option<Value> {
        if let Some(shape) = SPECIAL.iter().find(|shape| special(**shape) == Some(name)) {
            return Some(self.special_definition(name, *shape));
        }
        if name == PATCH {
            let description = "Patch is the body of a PATCH request; its media type says which kind of patch it is.";
            return Some(json!({"description": description, "type": "object"}));
        }
        let schema = self.definitions.definition(name)?;
        Some(self.object(name, schema))
    }

    fn special_definition(&self, name: &str, shape: Shape) -> Value {
        let mut out = match (shape, self.dialect) {
            (Shape::Quantity, Dialect::V2) => json!({"type": "string"}),
            (Shape::Quantity, Dialect::V3) => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
            (Shape::IntOrString, Dialect::V2) => json!({"type": "string", "format": "int-or-string"}),
            (Shape::IntOrString, Dialect::V3) => {
                json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]})
            }
            (Shape::Time | Shape::MicroTime, _) => json!({"type": "string", "format": "date-time"}),
            (Shape::RawObject | Shape::FieldsV1, _) => json!({"type": "object"}),
            _ => json!({}),
        };
        if let Some(text) = self.descriptions.find(name, "") {
            out["description"] = Value::String(text);
        }
        out
    }

    fn object(&mut self, name: &str, schema: SchemaRef<'static>) -> Value {
        let mut out = Map::new();
        let gvk = schema.group_version_kind();
        // The source of descriptions knows lists only as a generic type.
        let list_of = gvk.and_then(|(_, _, kind)| kind.strip_suffix("List")).filter(|kind| !kind.is_empty());
        let described = self.descriptions.find(name, "");
        let text = described.or_else(|| list_of.map(|kind| format!("{kind}List is a list of {kind} objects.")));
        if let Some(text) = text {
            out.insert("description".to_owned(), Value::String(text));
        }
        let mut properties = Map::new();
        let mut required = Vec::new();
        for (property_name, property) in schema.properties() {
            let Some(field) = property.field() else { continue };
            if field.flags.has(FieldFlags::REQUIRED) {
                required.push(Value::from(property_name));
            }
            let mut value = self.property(field, property);
            let text = self.descriptions.find(name, property_name).or_else(|| self.common_text(property_name, list_of));
            if let Some(text) = text {
                value.insert("description".to_owned(), Value::String(text));
            }
            properties.insert(property_name.to_owned(), Value::Object(value));
        }
        if !properties.is_empty() {
            out.insert("properties".to_owned(), Value::Object(properties));
        }
        if !required.is_empty() {
            out.insert("required".to_owned(), Value::Array(required));
        }
        out.insert("type".to_owned(), Value::from("object"));
        if let Some((group, version, kind)) = gvk {
            // Kinds of apimachinery itself are registered as core's.
            let group = if group == "meta.k8s.io" { "" } else { group };
            out.insert(
                "x-kubernetes-group-version-kind".to_owned(),
                json!([{"group": group, "kind": kind, "version": version}]),
            );
        }
        if schema.map_is_atomic() {
            out.insert("x-kubernetes-map-type".to_owned(), Value::from("atomic"));
        }
        Value::Object(out)
    }

    /// Lists have their common fields described by what a deployment says of its own.
    fn common_text(&self, property: &str, list_of: Option<&str>) -> Option<String> {
        let kind = list_of?;
        match property {
            "items" => Some(format!("List of {kind} objects.")),
            "metadata" => Some("Standard list metadata.".to_owned()),
            "apiVersion" | "kind" => self.descriptions.find("io.k8s.api.core.v1.Pod", property),
            _ => None,
        }
    }

    fn property(&mut self, field: &'static Field, schema: SchemaRef<'static>) -> Map<String, Value> {
        let by_value = !field.flags.has(FieldFlags::POINTER);
        let mut out = self.node(field.node, by_value);
        let always = by_value && !field.flags.has(FieldFlags::OMIT_EMPTY);
        if self.dialect == Dialect::V3 {
            if let (true, Some(zero)) = (always, zero(schema.shape())) {
                out.insert("default".to_owned(), zero);
            }
            if !field.flags.has(FieldFlags::HIDDEN_DEFAULT)
                && let Some(default) = schema.default_value()
            {
                out.insert("default".to_owned(), default.clone());
            }
        }
        let list_type =
            [(FieldFlags::LIST_MAP, "map"), (FieldFlags::LIST_SET, "set"), (FieldFlags::LIST_ATOMIC, "atomic")];
        if let Some((_, text)) = list_type.into_iter().find(|(flag, _)| field.flags.has(*flag)) {
            out.insert("x-kubernetes-list-type".to_owned(), Value::from(text));
        }
        let keys: Vec<&str> = schema.list_map_keys().collect();
        if !keys.is_empty() {
            out.insert("x-kubernetes-list-map-keys".to_owned(), json!(keys));
        }
        if field.flags.has(FieldFlags::ATOMIC) {
            out.insert("x-kubernetes-map-type".to_owned(), Value::from("atomic"));
        }
        let strategy = schema.patch_strategy();
        let words: Vec<&str> = [(strategy.merge, "merge"), (strategy.retain_keys, "retainKeys")]
            .into_iter()
            .filter_map(|(holds, word)| holds.then_some(word))
            .collect();
        if !words.is_empty() {
            out.insert("x-kubernetes-patch-strategy".to_owned(), Value::String(words.join(",")));
        }
        if let Some(key) = schema.patch_merge_key() {
            out.insert("x-kubernetes-patch-merge-key".to_owned(), Value::from(key));
        }
        out
    }

    fn node(&mut self, id: NodeId, by_value: bool) -> Map<String, Value> {
        let node = self.definitions.node(id);
        let plain = |kind: &str, format: Option<&str>| {
            let mut out = Map::new();
            out.insert("type".to_owned(), Value::from(kind));
            if let Some(format) = format {
                out.insert("format".to_owned(), Value::from(format));
            }
            out
        };
        match node.shape {
            Shape::String => {
                let mut out = plain("string", None);
                let allowed: Vec<&str> = SchemaRef::of_node(self.definitions, id).enum_values().collect();
                if self.dialect == Dialect::V3 && !allowed.is_empty() {
                    out.insert("enum".to_owned(), json!(allowed));
                }
                out
            }
            Shape::Bytes => plain("string", Some("byte")),
            Shape::Boolean => plain("boolean", None),
            Shape::Integer32 => plain("integer", Some("int32")),
            Shape::Integer64 => plain("integer", Some("int64")),
            Shape::Number => plain("number", Some("double")),
            Shape::List => {
                let mut out = plain("array", None);
                out.insert("items".to_owned(), self.item(NodeId(node.inner)));
                out
            }
            Shape::Map => {
                let mut out = plain("object", None);
                out.insert("additionalProperties".to_owned(), self.item(NodeId(node.inner)));
                out
            }
            Shape::Object => {
                let name = self.definitions.text(self.definitions.type_of(TypeId(node.inner)).name);
                let mut out = self.reference(name);
                if by_value && self.dialect == Dialect::V3 {
                    out.insert("default".to_owned(), json!({}));
                }
                out
            }
            shape => special(shape).map(|name| self.reference(name)).unwrap_or_default(),
        }
    }

    fn item(&mut self, id: NodeId) -> Value {
        let mut out = self.node(id, true);
        if let (Dialect::V3, Some(zero)) = (self.dialect, zero(self.definitions.node(id).shape)) {
            out.insert("default".to_owned(), zero);
        }
        Value::Object(out)
    }

    /// v3 forbids anything beside `$ref`, so it is wrapped.
    fn reference(&mut self, name: &'static str) -> Map<String, Value> {
        self.mentioned.insert(name);
        let target = Value::String(self.dialect.reference(name));
        let mut out = Map::new();
        match self.dialect {
            Dialect::V2 => out.insert("$ref".to_owned(), target),
            Dialect::V3 => out.insert("allOf".to_owned(), json!([{"$ref": target}])),
        };
        out
    }
}

/// Go's zero value, which v3 gives as the default of what is not a pointer.
fn zero(shape: Shape) -> Option<Value> {
    Some(match shape {
        Shape::String => Value::from(""),
        Shape::Boolean => Value::from(false),
        Shape::Integer32 | Shape::Integer64 | Shape::Number => Value::from(0),
        _ => return None,
    })
}
