//! Schemas made at run time from OpenAPI v3 JSON: what custom resource definitions bring.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::builder::{BuildError, Builder};
use super::model::{Definitions, Field, FieldFlags, Name, NodeId, Shape, Span, StaticDefault, When};
use super::reference::OwnedSchema;

/// Nesting of a schema; well above what published definitions reach.
const MOST_DEPTH: usize = 64;

impl Definitions {
    /// Builds the schema of a custom kind from its structural `openAPIV3Schema`.
    ///
    /// `metadata` is left to the caller, who decodes it as ObjectMeta; here it is any object.
    pub fn from_openapi(schema: &Value, group: &str, version: &str, kind: &str) -> Result<OwnedSchema, BuildError> {
        let mut source = Source { builder: Builder::default() };
        let id = source.builder.declare(&format!("{group}.{version}.{kind}"), &format!("{version}.{kind}"))?;
        source.builder.set_kind(id, group, version, kind)?;
        let root = schema.as_object().ok_or_else(|| at("", "a schema is an object"))?;
        let mut fields = Vec::new();
        for name in ["apiVersion", "kind"] {
            let node = source.builder.plain(Shape::String, 0);
            fields.push(source.blank(name, node)?);
        }
        let metadata = source.builder.plain(Shape::RawObject, 0);
        fields.push(source.blank("metadata", metadata)?);
        if let Some(properties) = root.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    fields.push(source.field(name, property, name, 1)?);
                }
            }
        }
        source.builder.set_fields(id, fields)?;
        source.builder.type_mut(id).preserve_unknown = preserves(root);
        let node = source.builder.type_mut(id).node;
        Ok(OwnedSchema::shared(Arc::new(source.builder.finish()?), node))
    }
}

struct Source {
    builder: Builder,
}

impl Source {
    fn node(&mut self, schema: &Value, path: &str, depth: usize) -> Result<NodeId, BuildError> {
        if depth > MOST_DEPTH {
            return Err(at(path, "nested too deep"));
        }
        let schema = schema.as_object().ok_or_else(|| at(path, "a schema is an object"))?;
        if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
            return Ok(self.builder.plain(Shape::IntOrString, 0));
        }
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        let shape = match schema.get("type").and_then(Value::as_str) {
            Some("object") => return self.object(schema, path, depth),
            Some("array") => {
                let items = schema.get("items").ok_or_else(|| at(path, "an array needs items"))?;
                let inner = self.node(items, &format!("{path}[]"), depth + 1)?;
                return Ok(self.builder.plain(Shape::List, inner.0));
            }
            Some("string") => Shape::String,
            Some("boolean") => Shape::Boolean,
            Some("integer") if format == "int32" => Shape::Integer32,
            Some("integer") => Shape::Integer64,
            Some("number") => Shape::Number,
            None => Shape::Json,
            Some(other) => return Err(at(path, &format!("unknown type {other:?}"))),
        };
        Ok(self.builder.plain(shape, 0))
    }

    fn object(&mut self, schema: &Map<String, Value>, path: &str, depth: usize) -> Result<NodeId, BuildError> {
        let properties = schema.get("properties").and_then(Value::as_object);
        let additional = match schema.get("additionalProperties") {
            Some(Value::Bool(true)) => Some(self.builder.plain(Shape::Json, 0)),
            Some(Value::Bool(false)) | None => None,
            Some(values) => Some(self.node(values, &format!("{path}.*"), depth + 1)?),
        };
        let embedded = schema.get("x-kubernetes-embedded-resource") == Some(&Value::Bool(true));
        match (properties, additional) {
            (None, Some(values)) => return Ok(self.builder.plain(Shape::Map, values.0)),
            (None, None) if preserves(schema) || embedded => return Ok(self.builder.plain(Shape::RawObject, 0)),
            _ => {}
        }
        let id = self.builder.declare("", path)?;
        let mut fields = Vec::new();
        for (name, property) in properties.into_iter().flatten() {
            fields.push(self.field(name, property, &format!("{path}.{name}"), depth + 1)?);
        }
        self.builder.set_fields(id, fields)?;
        let of = self.builder.type_mut(id);
        of.additional = additional;
        of.preserve_unknown = preserves(schema);
        of.atomic = schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic");
        Ok(of.node)
    }

    fn field(&mut self, name: &str, schema: &Value, path: &str, depth: usize) -> Result<Field, BuildError> {
        let node = self.node(schema, path, depth)?;
        let mut field = self.blank(name, node)?;
        let mut set = |flag| field.flags = field.flags.with(flag);
        if schema["nullable"] == Value::Bool(true) {
            set(FieldFlags::NULLABLE);
        }
        match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => set(FieldFlags::LIST_SET),
            Some("map") => set(FieldFlags::LIST_MAP),
            _ => {}
        }
        if schema["x-kubernetes-map-type"] == "atomic" {
            set(FieldFlags::ATOMIC);
        }
        if let Some(keys) = schema["x-kubernetes-list-map-keys"].as_array() {
            field.keys = self.builder.names(keys.iter().filter_map(Value::as_str))?;
        }
        if let Some(value) = schema.get("default") {
            let default = StaticDefault { value: value.clone(), when: When::Absent, replaces_zero: false };
            field.default = self.builder.add_default(default);
        }
        Ok(field)
    }

    fn blank(&mut self, name: &str, node: NodeId) -> Result<Field, BuildError> {
        Ok(Field {
            name: self.builder.name(name)?,
            node,
            number: 0,
            flags: FieldFlags::POINTER,
            merge_key: Name::default(),
            keys: Span::default(),
            default: 0,
        })
    }
}

fn preserves(schema: &Map<String, Value>) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

fn at(path: &str, problem: &str) -> BuildError {
    BuildError::At { path: path.to_owned(), problem: problem.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::{FieldValidation, decode, default};

    #[test]
    fn a_custom_kind_is_pruned_and_defaulted() {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "size": {"type": "integer", "format": "int32", "default": 3},
            "port": {"x-kubernetes-int-or-string": true},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "parts": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            "gone": {"type": "string", "nullable": true},
        }}}});
        let owned = Definitions::from_openapi(&schema, "example.com", "v1", "Widget").unwrap();
        let root = owned.as_ref();
        let mut value = json!({
            "apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"},
            "spec": {
                "port": "http", "labels": {"a": "b"}, "free": {"x": [1]}, "gone": null,
                "parts": [{"name": "p", "extra": 1}], "typo": true,
            },
        });
        let warnings = decode(&mut value, root, FieldValidation::Warn).unwrap();
        assert_eq!(warnings, [r#"unknown field "spec.parts[0].extra""#, r#"unknown field "spec.typo""#]);
        default(&mut value, root);
        assert_eq!(
            value["spec"],
            json!({
                "port": "http", "labels": {"a": "b"}, "free": {"x": [1]}, "gone": null, "parts": [{"name": "p"}],
                "size": 3,
            })
        );
        let parts = root.property("spec").and_then(|spec| spec.property("parts")).unwrap();
        assert_eq!(parts.list_map_keys().collect::<Vec<_>>(), ["name"]);
    }
}
