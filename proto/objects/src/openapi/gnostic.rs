//! The protobuf form of the v2 document: gnostic's `openapi.v2.Document`, written from the same JSON values.
//!
//! The numbers are those of `OpenAPIv2.proto` in github.com/google/gnostic-models.

use serde_json::{Map, Value};

use crate::protobuf::wire::Buffer;

/// Collects paths and definitions, then writes the document around them.
#[derive(Default)]
pub(super) struct Document {
    paths: Buffer,
    definitions: Buffer,
}

impl Document {
    pub fn path(&mut self, name: &str, item: &Value) {
        nested(&mut self.paths, 2, |out| {
            out.bytes_field(1, name.as_bytes());
            nested(out, 2, |out| path_item(out, item));
        });
    }

    pub fn definition(&mut self, name: &str, schema_value: &Value) {
        named_schema(&mut self.definitions, name, schema_value);
    }

    pub fn finish(self, title: &str, version: &str) -> Vec<u8> {
        let mut out = Buffer::default();
        out.bytes_field(1, b"2.0");
        nested(&mut out, 2, |out| {
            out.bytes_field(1, title.as_bytes());
            out.bytes_field(2, version.as_bytes());
        });
        out.bytes_field(8, &self.paths.bytes);
        out.bytes_field(9, &self.definitions.bytes);
        out.bytes
    }
}

fn nested(out: &mut Buffer, number: u16, write: impl FnOnce(&mut Buffer)) {
    let written: Result<(), std::convert::Infallible> = out.nested(number, |out| {
        write(out);
        Ok(())
    });
    match written {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

fn text(out: &mut Buffer, number: u16, value: &Value) {
    if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
        out.bytes_field(number, text.as_bytes());
    }
}

fn texts(out: &mut Buffer, number: u16, values: &Value) {
    for value in values.as_array().into_iter().flatten() {
        out.bytes_field(number, value.as_str().unwrap_or_default().as_bytes());
    }
}

fn flag(out: &mut Buffer, number: u16, value: &Value) {
    if value == &Value::Bool(true) {
        out.varint_field(number, 1);
    }
}

/// `Any`: gnostic carries free values as YAML, which JSON is.
fn any(out: &mut Buffer, number: u16, value: &Value) {
    nested(out, number, |out| out.bytes_field(2, format!("{value}\n").as_bytes()));
}

fn extensions(out: &mut Buffer, number: u16, object: &Map<String, Value>) {
    for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
        nested(out, number, |out| {
            out.bytes_field(1, name.as_bytes());
            any(out, 2, value);
        });
    }
}

fn named_schema(out: &mut Buffer, name: &str, value: &Value) {
    nested(out, 1, |out| {
        out.bytes_field(1, name.as_bytes());
        nested(out, 2, |out| schema(out, value));
    });
}

fn schema(out: &mut Buffer, value: &Value) {
    let Some(object) = value.as_object() else { return };
    text(out, 1, &value["$ref"]);
    text(out, 2, &value["format"]);
    text(out, 4, &value["description"]);
    if let Some(default) = object.get("default") {
        any(out, 5, default);
    }
    texts(out, 19, &value["required"]);
    for allowed in value["enum"].as_array().into_iter().flatten() {
        any(out, 20, allowed);
    }
    match object.get("additionalProperties") {
        Some(Value::Bool(allowed)) => nested(out, 21, |out| out.varint_field(2, u64::from(*allowed))),
        Some(values) => nested(out, 21, |out| nested(out, 1, |out| schema(out, values))),
        None => {}
    }
    if let Some(kind) = value["type"].as_str() {
        nested(out, 22, |out| out.bytes_field(1, kind.as_bytes()));
    }
    if let Some(items) = object.get("items") {
        nested(out, 23, |out| nested(out, 1, |out| schema(out, items)));
    }
    if let Some(properties) = value["properties"].as_object() {
        nested(out, 25, |out| properties.iter().for_each(|(name, value)| named_schema(out, name, value)));
    }
    extensions(out, 31, object);
}

fn path_item(out: &mut Buffer, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(operation_value) = item.get(method) {
            nested(out, number, |out| operation(out, operation_value));
        }
    }
    parameters(out, 9, &item["parameters"]);
}

fn operation(out: &mut Buffer, value: &Value) {
    texts(out, 1, &value["tags"]);
    text(out, 3, &value["description"]);
    text(out, 5, &value["operationId"]);
    texts(out, 6, &value["produces"]);
    texts(out, 7, &value["consumes"]);
    parameters(out, 8, &value["parameters"]);
    nested(out, 9, |out| {
        for (code, response) in value["responses"].as_object().into_iter().flatten() {
            nested(out, 1, |out| {
                out.bytes_field(1, code.as_bytes());
                // ResponseValue.response
                nested(out, 2, |out| {
                    nested(out, 1, |out| {
                        text(out, 1, &response["description"]);
                        if let Some(answer) = response.get("schema") {
                            // SchemaItem.schema
                            nested(out, 2, |out| nested(out, 1, |out| schema(out, answer)));
                        }
                    });
                });
            });
        }
    });
    texts(out, 10, &value["schemes"]);
    if let Some(object) = value.as_object() {
        extensions(out, 13, object);
    }
}

fn parameters(out: &mut Buffer, number: u16, values: &Value) {
    for value in values.as_array().into_iter().flatten() {
        // ParametersItem.parameter, then one of its kinds.
        nested(out, number, |out| nested(out, 1, |out| parameter(out, value)));
    }
}

fn parameter(out: &mut Buffer, value: &Value) {
    match value["in"].as_str() {
        Some("body") => nested(out, 1, |out| {
            text(out, 1, &value["description"]);
            text(out, 2, &value["name"]);
            text(out, 3, &value["in"]);
            flag(out, 4, &value["required"]);
            nested(out, 5, |out| schema(out, &value["schema"]));
        }),
        Some("path") => nested(out, 2, |out| {
            nested(out, 4, |out| {
                flag(out, 1, &value["required"]);
                text(out, 2, &value["in"]);
                text(out, 3, &value["description"]);
                text(out, 4, &value["name"]);
                text(out, 5, &value["type"]);
                flag(out, 15, &value["uniqueItems"]);
            });
        }),
        _ => nested(out, 2, |out| {
            nested(out, 3, |out| {
                flag(out, 1, &value["required"]);
                text(out, 2, &value["in"]);
                text(out, 3, &value["description"]);
                text(out, 4, &value["name"]);
                text(out, 6, &value["type"]);
                flag(out, 20, &value["uniqueItems"]);
            });
        }),
    }
}
