//! YAML input, turned into the same values as JSON input and held to the same limits while it is read: an alias can
//! make a large tree of a small document.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::json::{Limits, MOST_DUPLICATES, ParseError, Parsed};

/// Reads one YAML document. Keys that are not strings become strings, as upstream's conversion to JSON has it.
pub fn parse_yaml(bytes: &[u8], limits: &Limits) -> Result<Parsed, ParseError> {
    if bytes.len() > limits.bytes {
        return Err(ParseError::TooLarge { bytes: bytes.len(), limit: limits.bytes });
    }
    let reading = Reading { limits, values: Cell::new(0), refused: Cell::new(None), duplicates: RefCell::default() };
    let deserializer = serde_yaml_ng::Deserializer::from_slice(bytes);
    match (Seed { reading: &reading, depth: 0 }).deserialize(deserializer) {
        Ok(value) => Ok(Parsed { value, duplicates: reading.duplicates.into_inner() }),
        Err(error) => Err(match reading.refused.get() {
            Some(Refused::Deep) => ParseError::TooDeep,
            Some(Refused::Many) => ParseError::TooManyValues { limit: limits.values },
            None => ParseError::Syntax(format!("error converting YAML to JSON: yaml: {error}")),
        }),
    }
}

#[derive(Clone, Copy)]
enum Refused {
    Deep,
    Many,
}

/// What is counted over the whole document.
struct Reading<'l> {
    limits: &'l Limits,
    values: Cell<usize>,
    refused: Cell<Option<Refused>>,
    duplicates: RefCell<Vec<String>>,
}

#[derive(Clone, Copy)]
struct Seed<'r> {
    reading: &'r Reading<'r>,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Reading { limits, values, refused, .. } = self.reading;
        values.set(values.get() + 1);
        let reason = if values.get() > limits.values {
            Some(Refused::Many)
        } else if self.depth > limits.depth {
            Some(Refused::Deep)
        } else {
            None
        };
        if reason.is_some() {
            refused.set(reason);
            return Err(D::Error::custom("over a limit"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom(format!("json: unsupported value: {value}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = Seed { depth: self.depth + 1, ..self };
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = Seed { depth: self.depth + 1, ..self };
        let mut out = Map::new();
        while let Some(key) = entries.next_key_seed(below)? {
            let key = match key {
                Value::String(text) => text,
                Value::Null | Value::Bool(_) | Value::Number(_) => key.to_string(),
                Value::Array(_) | Value::Object(_) => return Err(A::Error::custom("a key is a list or a map")),
            };
            let value = entries.next_value_seed(below)?;
            let mut duplicates = self.reading.duplicates.borrow_mut();
            if out.contains_key(&key) && duplicates.len() < MOST_DUPLICATES {
                duplicates.push(format!("key {key:?} already set in map"));
            }
            drop(duplicates);
            out.insert(key, value);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(text: &str) -> Result<Parsed, ParseError> {
        parse_yaml(text.as_bytes(), &Limits::default())
    }

    #[test]
    fn yaml_reads_as_json_does() {
        let parsed = parse("a: 1\nb: [x, 'y', true, 1.5]\nc: {d: null, 80: http}\ne: ~\n").unwrap();
        assert_eq!(
            parsed.value,
            json!({"a": 1, "b": ["x", "y", true, 1.5], "c": {"d": null, "80": "http"}, "e": null})
        );
        assert_eq!(parse("x:\n  a: 1\n  a: 2\n").unwrap().duplicates, [r#"key "a" already set in map"#]);
        assert!(matches!(parse("a: ["), Err(ParseError::Syntax(_))));
        assert!(matches!(parse("a: .nan"), Err(ParseError::Syntax(_))));
        let shared = parse("a: &x {k: 1}\nb: *x\n").unwrap();
        assert_eq!(shared.value["b"], json!({"k": 1}));
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..9 {
            let one = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![one; 10].join(",")));
        }
        assert!(parse(&bomb).is_err());
        let limits = Limits { values: 100, ..Limits::default() };
        assert_eq!(parse_yaml(bomb.as_bytes(), &limits), Err(ParseError::TooManyValues { limit: 100 }));
        let deep = "[".repeat(200) + &"]".repeat(200);
        assert!(parse(&deep).is_err());
    }
}
