//! From a request's body to an object: media type, syntax, kind, schema, fields.

use keelson_objects::{
    meta, protobuf,
    schema::{self, FieldValidation, Limits, SchemaRef},
    status::StatusError,
};
use serde_json::Value;

use super::{Body, Pipeline, Request};
use crate::registry::{Kind, Subresource};

/// Upstream's limit of a request body.
pub const BODY_LIMIT: usize = 3 * 1024 * 1024;
/// How deep a body may nest.
pub const DEPTH_LIMIT: usize = 120;
const BODY_TYPES: &[&str] = &["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];
pub const PATCH_TYPES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];
/// Warnings that one answer carries.
const WARNINGS: usize = 100;

/// A body after syntax and before schema.
pub(super) struct Syntax {
    pub value: Value,
    pub duplicates: Vec<String>,
}

/// Reads JSON, YAML or protobuf. `expected` names the kind for error texts.
pub(super) fn syntax(body: &Body, expected: &str) -> Result<Syntax, StatusError> {
    let limits = Limits { depth: DEPTH_LIMIT, bytes: BODY_LIMIT, ..Limits::default() };
    let unrecognized = |error: &dyn std::fmt::Display| {
        StatusError::bad_request(format!(
            "the object provided is unrecognized (must be of type {expected}): {error} ({})",
            summary(&body.bytes)
        ))
    };
    match body.content_type.as_str() {
        "" | "application/json" => {
            let parsed = schema::parse_json(&body.bytes, &limits)
                .map_err(|error| unrecognized(&format!("couldn't get version/kind; json parse error: {error}")))?;
            Ok(Syntax { value: parsed.value, duplicates: parsed.duplicates })
        }
        "application/yaml" | "application/x-yaml" | "text/yaml" => {
            let parsed = schema::parse_yaml(&body.bytes, &limits).map_err(|error| unrecognized(&error))?;
            Ok(Syntax { value: parsed.value, duplicates: parsed.duplicates })
        }
        "application/vnd.kubernetes.protobuf" => {
            let value = protobuf::decode(&body.bytes).map_err(|error| unrecognized(&error))?;
            Ok(Syntax { value, duplicates: Vec::new() })
        }
        _ => Err(StatusError::unsupported_media_type(BODY_TYPES)),
    }
}

fn summary(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let more = if body.len() > SHOWN { " ..." } else { "" };
    let shown = &body[..body.len().min(SHOWN)];
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => format!("{}{more}", hex::encode(shown)),
    }
}

/// The kind that a body must be of.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
}

impl<'a> Expected<'a> {
    pub fn of(kind: &'a Kind) -> Expected<'a> {
        Expected { group: &kind.group, version: &kind.version, kind: &kind.kind }
    }

    fn api_version(&self) -> String {
        meta::join_api_version(self.group, self.version)
    }

    pub fn schema(&self) -> Option<SchemaRef<'static>> {
        schema::builtin().kind(self.group, self.version, self.kind)
    }
}

/// Checks kind and schema, drops unknown fields, and answers warnings (or, when strict, refuses).
pub(super) fn check(
    value: &mut Value,
    duplicates: Vec<String>,
    expected: Expected<'_>,
    field_validation: &str,
) -> Result<Vec<String>, StatusError> {
    let mode = match field_validation {
        "" | "Warn" => FieldValidation::Warn,
        "Strict" => FieldValidation::Strict,
        "Ignore" => FieldValidation::Ignore,
        other => {
            return Err(StatusError::bad_request(format!(
                "fieldValidation parameter unsupported: {other:?}, supported values: \"Ignore\", \"Warn\", \"Strict\""
            )));
        }
    };
    set_kind(value, expected)?;
    let cannot = |error: &dyn std::fmt::Display| {
        StatusError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: {error}",
            kind = expected.kind,
            version = expected.version
        ))
    };
    let Some(schema) = expected.schema() else { return Ok(Vec::new()) };
    let lenient = if matches!(mode, FieldValidation::Ignore) { FieldValidation::Ignore } else { FieldValidation::Warn };
    let found = schema::decode(value, schema, lenient).map_err(|error| cannot(&error))?;
    if matches!(mode, FieldValidation::Ignore) {
        return Ok(Vec::new());
    }
    let mut warnings: Vec<String> = found.iter().map(ToString::to_string).chain(duplicates).collect();
    warnings.truncate(WARNINGS);
    if matches!(mode, FieldValidation::Strict) && !warnings.is_empty() {
        return Err(cannot(&format!("strict decoding error: {}", warnings.join(", "))));
    }
    Ok(warnings)
}

fn set_kind(value: &mut Value, expected: Expected<'_>) -> Result<(), StatusError> {
    let Some(object) = value.as_object_mut() else {
        return Err(StatusError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
             Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            expected.kind,
            json_type(value)
        )));
    };
    let api_version = expected.api_version();
    let given_kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let given_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let other_kind = !given_kind.is_empty() && given_kind != expected.kind;
    if other_kind || (!given_version.is_empty() && given_version != api_version) {
        if other_kind {
            let (_, version) = meta::split_api_version(given_version);
            return Err(StatusError::bad_request(format!(
                "{given_kind} in version \"{version}\" cannot be handled as a {}: converting ({given_kind}) to ({}): \
                 unknown conversion",
                expected.kind, expected.kind
            )));
        }
        return Err(StatusError::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API version ({api_version})"
        )));
    }
    // In the order in which the cache wants them: see `Kind::opening`.
    if !object.keys().take(2).eq(["apiVersion", "kind"]) || given_kind.is_empty() || given_version.is_empty() {
        object.shift_insert(0, "apiVersion".to_owned(), api_version.into());
        object.shift_insert(1, "kind".to_owned(), expected.kind.into());
    }
    Ok(())
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Fills in the schema's static defaults and the kind's conditional ones.
pub(super) fn default(kind: &Kind, object: &mut Value) {
    if let Some(schema) = Expected::of(kind).schema() {
        schema::default(object, schema);
    }
    kind.strategy.default(object);
}

impl Pipeline {
    /// The object in the body of a create or update, with the warnings about its fields.
    pub(super) fn decode_object(&self, request: &Request) -> Result<(Value, Vec<String>), StatusError> {
        decode_as(request, Expected::of(&request.kind))
    }

    /// The object in the body of a subresource with a kind of its own.
    pub(super) fn decode_exchange(&self, request: &Request, subresource: &Subresource) -> Result<Value, StatusError> {
        let expected = match subresource.kind {
            Some((group, version, kind)) => Expected { group, version, kind },
            None => Expected::of(&request.kind),
        };
        if request.body.bytes.is_empty() {
            return Ok(Value::Null);
        }
        let (mut value, _) = decode_as(request, expected)?;
        if let Some(schema) = expected.schema() {
            schema::default(&mut value, schema);
        }
        Ok(value)
    }
}

pub(super) fn decode_as(request: &Request, expected: Expected<'_>) -> Result<(Value, Vec<String>), StatusError> {
    let Syntax { mut value, duplicates } = syntax(&request.body, expected.kind)?;
    let warnings = check(&mut value, duplicates, expected, &request.options.field_validation)?;
    Ok((value, warnings))
}
