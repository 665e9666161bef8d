//! What Go's types do to a value that passes through them: empty optional fields go, struct fields always come.
//!
//! Built-in kinds are stored as upstream would store them after decoding into Go structs and encoding again. So a
//! client that sends `paused: false` and one that leaves it out make the same object, and no generation is bumped.
//! One difference is deliberate: where Go writes `null`, a required list or map is written empty and a zero time not at all.

use serde_json::{Map, Value};

use super::model::{Definitions, Field, FieldFlags, NodeId, Shape, TypeId};

/// Go's zero value, for `null` in a list or map of values.
pub(super) fn zero(definitions: &Definitions, id: NodeId) -> Value {
    match definitions.node(id).shape {
        Shape::Object | Shape::Map => Value::Object(Map::new()),
        Shape::List => Value::Array(Vec::new()),
        Shape::String => Value::String(String::new()),
        Shape::Boolean => Value::Bool(false),
        Shape::Integer32 | Shape::Integer64 | Shape::IntOrString => Value::from(0),
        Shape::Number => Value::from(0.0),
        Shape::Quantity => Value::from("0"),
        _ => Value::Null,
    }
}

/// Only a custom resource's nullable field keeps its null.
pub(super) fn keeps_null(field: &Field) -> bool {
    field.flags.has(FieldFlags::NULLABLE)
}

/// Go's `omitempty` would leave the field out.
pub(crate) fn is_omitted(definitions: &Definitions, field: &Field, value: &Value) -> bool {
    if !field.flags.has(FieldFlags::OMIT_EMPTY) || field.flags.has(FieldFlags::POINTER) {
        return false;
    }
    match value {
        Value::Object(map) => map.is_empty() && definitions.node(field.node).shape == Shape::Map,
        Value::Array(items) => items.is_empty(),
        Value::String(text) => {
            text.is_empty() && matches!(definitions.node(field.node).shape, Shape::String | Shape::Bytes)
        }
        Value::Bool(flag) => !flag,
        Value::Number(number) => {
            number.as_f64() == Some(0.0) && definitions.node(field.node).shape != Shape::IntOrString
        }
        Value::Null => true,
    }
}

/// Adds the fields that Go writes whether set or not.
pub(crate) fn complete(definitions: &Definitions, id: TypeId, map: &mut Map<String, Value>) {
    let always = |field: &Field| {
        if field.flags.has(FieldFlags::POINTER) || field.flags.has(FieldFlags::OMIT_ZERO) || field.number == 0 {
            return false;
        }
        match definitions.node(field.node).shape {
            Shape::Object | Shape::Quantity | Shape::IntOrString => true,
            Shape::String
            | Shape::Boolean
            | Shape::Integer32
            | Shape::Integer64
            | Shape::Number
            | Shape::List
            | Shape::Map => !field.flags.has(FieldFlags::OMIT_EMPTY),
            _ => false,
        }
    };
    for property in definitions.properties_of(id) {
        let field = definitions.field(property.field);
        if !always(field) {
            continue;
        }
        let name = definitions.text(property.name);
        if !map.contains_key(name) {
            let mut value = zero(definitions, field.node);
            if let (Value::Object(inner), Shape::Object) = (&mut value, definitions.node(field.node).shape) {
                complete(definitions, TypeId(definitions.node(field.node).inner), inner);
            }
            map.insert(name.to_owned(), value);
        }
    }
}
