//! From a JSON value to the message that upstream's generated code would write for it: what Go keeps by value is
//! written even when it is zero, what it keeps by pointer only when it is there, maps in the order of their keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::error::Error;
use super::wire::{Buffer, FIXED64};
use crate::schema::{Definitions, Field, FieldFlags, NodeId, Shape, TypeId};

pub(super) struct Writer<'d> {
    definitions: &'d Definitions,
}

impl<'d> Writer<'d> {
    pub fn new(definitions: &'d Definitions) -> Writer<'d> {
        Writer { definitions }
    }

    /// The fields of a type; without a map, all that Go writes of its zero value.
    pub fn message(&self, out: &mut Buffer, map: Option<&Map<String, Value>>, id: TypeId) -> Result<(), Error> {
        for field in self.definitions.fields_of(id) {
            if field.number == 0 {
                // TypeMeta: the envelope has it.
                continue;
            }
            if field.flags.has(FieldFlags::INLINE) {
                let inner = TypeId(self.definitions.node(field.node).inner);
                if !field.flags.has(FieldFlags::POINTER) || self.has_any(map, inner) {
                    out.nested(field.number, |out| self.message(out, map, inner))?;
                }
                continue;
            }
            match map.and_then(|map| map.get(self.definitions.text(field.name))) {
                Some(Value::Null) | None => self.zero(out, field)?,
                Some(value) => self.field(out, field, value)?,
            }
        }
        Ok(())
    }

    fn has_any(&self, map: Option<&Map<String, Value>>, id: TypeId) -> bool {
        let fields = self.definitions.fields_of(id);
        map.is_some_and(|map| fields.iter().any(|field| map.contains_key(self.definitions.text(field.name))))
    }

    fn zero(&self, out: &mut Buffer, field: &Field) -> Result<(), Error> {
        if field.flags.has(FieldFlags::POINTER) {
            return Ok(());
        }
        let node = self.definitions.node(field.node);
        match node.shape {
            Shape::String => out.bytes_field(field.number, b""),
            Shape::Boolean | Shape::Integer32 | Shape::Integer64 => out.varint_field(field.number, 0),
            Shape::Number => self.double(out, field.number, 0.0),
            Shape::Object => out.nested(field.number, |out| self.message(out, None, TypeId(node.inner)))?,
            Shape::Quantity => out.nested(field.number, |out| quantity(out, "0"))?,
            Shape::Time | Shape::MicroTime | Shape::RawObject | Shape::Json => out.bytes_field(field.number, b""),
            Shape::IntOrString => self.value(out, field.number, field.node, field, &Value::from(0))?,
            Shape::List if node.wrapped => {}
            Shape::List | Shape::Map | Shape::Bytes | Shape::FieldsV1 => {}
            Shape::PropsOrArray | Shape::PropsOrBool | Shape::PropsOrStringArray => {}
        }
        Ok(())
    }

    fn field(&self, out: &mut Buffer, field: &Field, value: &Value) -> Result<(), Error> {
        let node = self.definitions.node(field.node);
        match (node.shape, value) {
            (Shape::List, Value::Array(items)) if !node.wrapped => {
                items.iter().try_for_each(|item| self.value(out, field.number, NodeId(node.inner), field, item))
            }
            (Shape::Map, Value::Object(entries)) => {
                let mut sorted: Vec<_> = entries.iter().collect();
                sorted.sort_unstable_by_key(|(key, _)| *key);
                sorted.into_iter().try_for_each(|(key, value)| {
                    out.nested(field.number, |out| {
                        out.bytes_field(1, key.as_bytes());
                        self.value(out, 2, NodeId(node.inner), field, value)
                    })
                })
            }
            _ => self.value(out, field.number, field.node, field, value),
        }
    }

    fn value(&self, out: &mut Buffer, number: u16, id: NodeId, field: &Field, value: &Value) -> Result<(), Error> {
        let node = self.definitions.node(id);
        let mismatch = || self.problem(field, format!("a value of another type: {}", kind_of(value)));
        match node.shape {
            Shape::String => out.bytes_field(number, value.as_str().ok_or_else(mismatch)?.as_bytes()),
            Shape::Boolean => out.varint_field(number, u64::from(value.as_bool().ok_or_else(mismatch)?)),
            Shape::Integer32 | Shape::Integer64 => {
                out.varint_field(number, value.as_i64().ok_or_else(mismatch)? as u64);
            }
            Shape::Number => self.double(out, number, value.as_f64().ok_or_else(mismatch)?),
            Shape::Bytes => {
                let text: String = value.as_str().ok_or_else(mismatch)?.split(['\r', '\n']).collect();
                let bytes = STANDARD.decode(text).map_err(|error| self.problem(field, error))?;
                out.bytes_field(number, &bytes);
            }
            Shape::Object => {
                let map = match value {
                    Value::Null => None,
                    value => Some(value.as_object().ok_or_else(mismatch)?),
                };
                out.nested(number, |out| self.message(out, map, TypeId(node.inner)))?;
            }
            Shape::List => {
                let items = value.as_array().ok_or_else(mismatch)?;
                out.nested(number, |out| {
                    items.iter().try_for_each(|item| self.value(out, 1, NodeId(node.inner), field, item))
                })?;
            }
            Shape::Map => return Err(mismatch()),
            Shape::Quantity => {
                let canonical = crate::quantity::canonical(value).map_err(|error| self.problem(field, error))?;
                out.nested(number, |out| quantity(out, &canonical))?;
            }
            Shape::IntOrString => out.nested(number, |out| {
                let (kind, integer, string) = match value {
                    Value::String(text) => (1, 0, text.as_str()),
                    value => (0, value.as_i64().ok_or_else(mismatch)?, ""),
                };
                out.varint_field(1, kind);
                out.varint_field(2, integer as u64);
                out.bytes_field(3, string.as_bytes());
                Ok(())
            })?,
            Shape::Time | Shape::MicroTime if value.is_null() => out.bytes_field(number, b""),
            Shape::Time | Shape::MicroTime => {
                let text = value.as_str().ok_or_else(mismatch)?;
                let time = crate::time::parse(text).ok_or_else(|| self.problem(field, "not a time"))?;
                out.nested(number, |out| {
                    out.varint_field(1, time.as_second() as u64);
                    // The API's precision ends at seconds and microseconds.
                    let nanos = if node.shape == Shape::Time { 0 } else { time.subsec_nanosecond() / 1000 * 1000 };
                    out.varint_field(2, i64::from(nanos) as u64);
                    Ok::<_, Error>(())
                })?;
            }
            Shape::RawObject | Shape::FieldsV1 | Shape::Json => {
                let raw = serde_json::to_vec(value).map_err(|error| self.problem(field, error))?;
                out.nested(number, |out| {
                    out.bytes_field(1, &raw);
                    Ok::<_, Error>(())
                })?;
            }
            Shape::PropsOrArray | Shape::PropsOrBool | Shape::PropsOrStringArray => {
                out.nested(number, |out| self.props_union(out, id, field, value))?;
            }
        }
        Ok(())
    }

    fn props_union(&self, out: &mut Buffer, id: NodeId, field: &Field, value: &Value) -> Result<(), Error> {
        let node = self.definitions.node(id);
        let props = NodeId(node.inner);
        match (node.shape, value) {
            (Shape::PropsOrBool, Value::Bool(allows)) => {
                out.varint_field(1, u64::from(*allows));
                Ok(())
            }
            (Shape::PropsOrBool, _) => {
                out.varint_field(1, 1);
                self.value(out, 2, props, field, value)
            }
            (Shape::PropsOrArray, Value::Array(items)) => {
                items.iter().try_for_each(|item| self.value(out, 2, props, field, item))
            }
            (Shape::PropsOrStringArray, Value::Array(items)) => items.iter().try_for_each(|item| {
                let text = item.as_str().ok_or_else(|| self.problem(field, "not a string"))?;
                out.bytes_field(2, text.as_bytes());
                Ok(())
            }),
            _ => self.value(out, 1, props, field, value),
        }
    }

    fn double(&self, out: &mut Buffer, number: u16, value: f64) {
        out.tag(number, FIXED64);
        out.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn problem(&self, field: &Field, problem: impl std::fmt::Display) -> Error {
        Error::Field { field: self.definitions.text(field.name).to_owned(), problem: problem.to_string() }
    }
}

fn quantity(out: &mut Buffer, text: &str) -> Result<(), Error> {
    out.bytes_field(1, text.as_bytes());
    Ok(())
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
