//! From a message to the JSON value that Go would write of it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::envelope;
use super::error::Error;
use super::wire::{MAGIC, Part, Parts, take_varint};
use crate::schema::{self, Definitions, Field, FieldFlags, Limits, NodeId, Shape, TypeId};

/// Nesting of messages, as of JSON.
const MOST_DEPTH: usize = 120;
/// Fields and items of one request; a small message can stand for a large object, so bytes alone are no bound.
const MOST_PARTS: usize = 400_000;

pub(super) struct Reader<'d> {
    definitions: &'d Definitions,
    parts: usize,
}

impl<'d> Reader<'d> {
    pub fn new(definitions: &'d Definitions) -> Reader<'d> {
        Reader { definitions, parts: 0 }
    }

    /// Reads a message of a type into `map`, which may hold apiVersion and kind already.
    pub fn message(
        &mut self,
        message: &[u8],
        id: TypeId,
        map: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Error> {
        self.embedded(message, id, map, depth)?;
        schema::complete(self.definitions, id, map);
        Ok(())
    }

    /// The fields of a message, without what Go adds to the whole: an embedded struct shares its owner's object.
    fn embedded(
        &mut self,
        message: &[u8],
        id: TypeId,
        map: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > MOST_DEPTH {
            return Err(Error::TooDeep);
        }
        let definitions = self.definitions;
        let fields = definitions.fields_of(id);
        let mut parts = Parts::new(message);
        while let Some((number, part)) = parts.next()? {
            self.parts += 1;
            if self.parts > MOST_PARTS {
                return Err(Error::TooManyParts { limit: MOST_PARTS });
            }
            // Unknown numbers are skipped: a newer client may know more.
            let Ok(place) = fields.binary_search_by_key(&number, |field| u32::from(field.number)) else { continue };
            let field = &fields[place];
            if number == 0 {
                return Err(Error::WireType(part.wire_type()));
            }
            if field.flags.has(FieldFlags::INLINE) {
                let inner = TypeId(definitions.node(field.node).inner);
                self.embedded(self.length(part, field)?, inner, map, depth + 1)?;
            } else {
                self.field(part, field, map, depth)?;
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        part: Part<'_>,
        field: &Field,
        map: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), Error> {
        let definitions = self.definitions;
        let name = definitions.text(field.name);
        let node = definitions.node(field.node);
        match node.shape {
            Shape::List if !node.wrapped => {
                let slot = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(items) = slot else { return Ok(()) };
                let item = NodeId(node.inner);
                match part {
                    Part::Length(packed) if self.is_varint(item) => {
                        let mut rest = packed;
                        while !rest.is_empty() {
                            let number = Part::Varint(take_varint(&mut rest)?);
                            items.push(self.value(number, item, field, depth)?);
                        }
                    }
                    part => items.push(self.value(part, item, field, depth)?),
                }
            }
            Shape::Map => {
                let (key, value) = self.map_entry(self.length(part, field)?, NodeId(node.inner), field, depth)?;
                let slot = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(entries) = slot {
                    entries.insert(key, value);
                }
            }
            _ => {
                let value = self.value(part, field.node, field, depth)?;
                if value.is_null() || schema::is_omitted(definitions, field, &value) {
                    map.shift_remove(name);
                } else {
                    map.insert(name.to_owned(), value);
                }
            }
        }
        Ok(())
    }

    fn is_varint(&self, id: NodeId) -> bool {
        matches!(self.definitions.node(id).shape, Shape::Boolean | Shape::Integer32 | Shape::Integer64)
    }

    fn map_entry(
        &mut self,
        entry: &[u8],
        inner: NodeId,
        field: &Field,
        depth: usize,
    ) -> Result<(String, Value), Error> {
        let mut key = String::new();
        let mut value = None;
        let mut parts = Parts::new(entry);
        while let Some((number, part)) = parts.next()? {
            match number {
                1 => key = text(self.length(part, field)?),
                2 => value = Some(self.value(part, inner, field, depth + 1)?),
                _ => {}
            }
        }
        let value = match value {
            Some(value) => value,
            None => self.value(Part::Length(&[]), inner, field, depth + 1).unwrap_or(Value::Null),
        };
        Ok((key, value))
    }

    fn value(&mut self, part: Part<'_>, id: NodeId, field: &Field, depth: usize) -> Result<Value, Error> {
        let definitions = self.definitions;
        let node = definitions.node(id);
        Ok(match node.shape {
            Shape::Boolean => Value::Bool(self.varint(part, field)? != 0),
            // Go keeps the low bits of a varint that is too wide.
            Shape::Integer32 => Value::from(self.varint(part, field)? as i32),
            Shape::Integer64 => Value::from(self.varint(part, field)? as i64),
            Shape::Number => match part {
                Part::Fixed64(bits) => Value::from(f64::from_bits(bits)),
                other => return Err(self.wrong(other, field)),
            },
            Shape::String => Value::String(text(self.length(part, field)?)),
            Shape::Bytes => Value::String(STANDARD.encode(self.length(part, field)?)),
            Shape::Object => {
                let mut map = Map::new();
                self.message(self.length(part, field)?, TypeId(node.inner), &mut map, depth + 1)?;
                Value::Object(map)
            }
            Shape::List => {
                // A wrapped list of strings: a message with the items.
                let mut items = Vec::new();
                let mut parts = Parts::new(self.length(part, field)?);
                while let Some((number, part)) = parts.next()? {
                    if number == 1 {
                        items.push(self.value(part, NodeId(node.inner), field, depth + 1)?);
                    }
                }
                Value::Array(items)
            }
            // No built-in type has a list or map of maps.
            Shape::Map => return Err(self.wrong(part, field)),
            Shape::Quantity => {
                let text = self.member(part, field, 1)?.map(text).unwrap_or_default();
                let value = Value::String(if text.is_empty() { "0".to_owned() } else { text });
                Value::String(crate::quantity::canonical(&value).map_err(|error| self.problem(field, error))?)
            }
            Shape::IntOrString => self.int_or_string(self.length(part, field)?, field)?,
            Shape::Time | Shape::MicroTime => self.time(self.length(part, field)?, node.shape, field)?,
            Shape::RawObject => match self.member(part, field, 1)? {
                None | Some([]) => Value::Null,
                Some(raw) if raw.starts_with(MAGIC) => envelope::decode_nested(raw, depth + 1)?,
                Some(raw) => self.json(raw, field)?,
            },
            Shape::FieldsV1 | Shape::Json => match self.member(part, field, 1)? {
                None | Some([]) => Value::Null,
                Some(raw) => self.json(raw, field)?,
            },
            Shape::PropsOrArray | Shape::PropsOrBool | Shape::PropsOrStringArray => {
                self.props_union(self.length(part, field)?, id, field, depth)?
            }
        })
    }

    fn props_union(&mut self, message: &[u8], id: NodeId, field: &Field, depth: usize) -> Result<Value, Error> {
        let node = *self.definitions.node(id);
        let (schema_number, other_number) = if node.shape == Shape::PropsOrBool { (2, 1) } else { (1, 2) };
        let mut props = None;
        let mut list = Vec::new();
        let mut allows = false;
        let mut parts = Parts::new(message);
        while let Some((number, part)) = parts.next()? {
            if number == schema_number {
                props = Some(self.value(part, NodeId(node.inner), field, depth + 1)?);
            } else if number == other_number {
                match node.shape {
                    Shape::PropsOrBool => allows = self.varint(part, field)? != 0,
                    Shape::PropsOrArray => list.push(self.value(part, NodeId(node.inner), field, depth + 1)?),
                    _ => list.push(Value::String(text(self.length(part, field)?))),
                }
            }
        }
        Ok(match props {
            Some(props) => props,
            None if node.shape == Shape::PropsOrBool => Value::Bool(allows),
            None => Value::Array(list),
        })
    }

    fn int_or_string(&mut self, message: &[u8], field: &Field) -> Result<Value, Error> {
        let (mut is_string, mut number, mut string) = (false, 0, String::new());
        let mut parts = Parts::new(message);
        while let Some((member, part)) = parts.next()? {
            match member {
                1 => is_string = self.varint(part, field)? == 1,
                2 => number = self.varint(part, field)? as i32,
                3 => string = text(self.length(part, field)?),
                _ => {}
            }
        }
        Ok(if is_string { Value::String(string) } else { Value::from(number) })
    }

    fn time(&mut self, message: &[u8], shape: Shape, field: &Field) -> Result<Value, Error> {
        if message.is_empty() {
            return Ok(Value::Null);
        }
        let (mut seconds, mut nanos) = (0, 0);
        let mut parts = Parts::new(message);
        while let Some((member, part)) = parts.next()? {
            match member {
                1 => seconds = self.varint(part, field)? as i64,
                2 => nanos = self.varint(part, field)? as i32,
                _ => {}
            }
        }
        let timestamp = Timestamp::new(seconds, nanos).map_err(|error| self.problem(field, error))?;
        Ok(Value::String(match shape {
            Shape::Time => crate::time::seconds(timestamp),
            _ => crate::time::micro(timestamp),
        }))
    }

    /// The one member of a message that only wraps bytes.
    fn member<'b>(&self, part: Part<'b>, field: &Field, wanted: u32) -> Result<Option<&'b [u8]>, Error> {
        let mut found = None;
        let mut parts = Parts::new(self.length(part, field)?);
        while let Some((number, part)) = parts.next()? {
            if number == wanted {
                found = Some(self.length(part, field)?);
            }
        }
        Ok(found)
    }

    fn json(&self, raw: &[u8], field: &Field) -> Result<Value, Error> {
        let parsed = schema::parse_json(raw, &Limits::default()).map_err(|error| self.problem(field, error))?;
        Ok(parsed.value)
    }

    fn varint(&self, part: Part<'_>, field: &Field) -> Result<u64, Error> {
        match part {
            Part::Varint(value) => Ok(value),
            // A map entry without its value: zero.
            Part::Length([]) => Ok(0),
            other => Err(self.wrong(other, field)),
        }
    }

    fn length<'b>(&self, part: Part<'b>, field: &Field) -> Result<&'b [u8], Error> {
        match part {
            Part::Length(bytes) => Ok(bytes),
            other => Err(self.wrong(other, field)),
        }
    }

    fn wrong(&self, part: Part<'_>, field: &Field) -> Error {
        Error::WrongWireType { wire: part.wire_type(), field: self.definitions.text(field.name).to_owned() }
    }

    fn problem(&self, field: &Field, problem: impl std::fmt::Display) -> Error {
        Error::Field { field: self.definitions.text(field.name).to_owned(), problem: problem.to_string() }
    }
}

/// Go's strings may hold any bytes; JSON's may not.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
