//! Decoding: does a JSON value fit a schema, and what is left of it when unknown fields are gone.
//!
//! It answers as upstream's typed decoder does (sigs.k8s.io/json over Go structs): the first type error in Go's
//! words, unknown fields as strict errors or warnings, `null` as absence, numbers and times in canonical form.
//! What it leaves for built-in kinds is what Go would have written again (see `normalize`).

use serde_json::{Map, Value};

use super::go::{self, Layout};
use super::model::{Definitions, NodeId, Shape, TypeId};
use super::normalize;
use super::path::Path;
use super::reference::SchemaRef;

/// The query parameter `fieldValidation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    Ignore,
    #[default]
    Warn,
    Strict,
}

/// Why a value is not what its schema says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A value of the wrong type, in Go's words.
    #[error("{0}")]
    Type(String),
    /// Unknown and duplicate fields, where they are refused.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
}

impl DecodeError {
    /// The message of the BadRequest that a request with such a body gets.
    pub fn for_request(&self, version: &str, kind: &str) -> String {
        format!("{kind} in version {version:?} cannot be handled as a {kind}: {self}")
    }
}

/// As many strict errors are named.
const MOST_STRICT_ERRORS: usize = 100;

/// Checks and prunes `value` in place; the warnings are to be sent to the client.
pub fn decode(
    value: &mut Value,
    schema: SchemaRef<'_>,
    validation: FieldValidation,
) -> Result<Vec<String>, DecodeError> {
    decode_with(value, schema, validation, &[])
}

/// Like [`decode`]; `duplicates` is what [`super::parse_json`] found in the same document.
pub fn decode_with(
    value: &mut Value,
    schema: SchemaRef<'_>,
    validation: FieldValidation,
    duplicates: &[String],
) -> Result<Vec<String>, DecodeError> {
    let mut decoder = Decoder {
        definitions: schema.definitions(),
        type_error: None,
        strict: duplicates.to_vec(),
        names_strict: validation != FieldValidation::Ignore,
    };
    let place = Place { owner: None, fields: Fields::Root };
    decoder.value(value, schema.node_id(), &Path::Root, &place).map_err(DecodeError::Type)?;
    if let Some(error) = decoder.type_error {
        return Err(DecodeError::Type(error));
    }
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(decoder.strict),
        FieldValidation::Strict if decoder.strict.is_empty() => Ok(Vec::new()),
        FieldValidation::Strict => Err(DecodeError::Strict(decoder.strict)),
    }
}

/// The struct that is being filled and the fields that led to it, as Go's decoder remembers them.
#[derive(Clone, Copy)]
struct Place<'p> {
    owner: Option<TypeId>,
    fields: Fields<'p>,
}

#[derive(Clone, Copy)]
enum Fields<'p> {
    Root,
    Field(&'p Fields<'p>, &'p str),
}

impl Fields<'_> {
    fn write(&self, out: &mut String) {
        if let Fields::Field(parent, name) = self {
            parent.write(out);
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(name);
        }
    }
}

struct Decoder<'d> {
    definitions: &'d Definitions,
    /// Go goes on after a type error and reports the first.
    type_error: Option<String>,
    strict: Vec<String>,
    names_strict: bool,
}

impl Decoder<'_> {
    /// An error from here ends decoding at once: it comes from a type with a decoder of its own.
    fn value(&mut self, value: &mut Value, id: NodeId, path: &Path<'_>, place: &Place<'_>) -> Result<(), String> {
        let node = self.definitions.node(id);
        if value.is_null() {
            *value = normalize::zero(self.definitions, id);
        }
        match node.shape {
            Shape::Object => match value {
                Value::Object(map) => return self.object(map, TypeId(node.inner), path, place),
                other => self.mismatch(other, id, place),
            },
            Shape::Map => match value {
                Value::Object(map) => {
                    for (key, value) in map.iter_mut() {
                        self.value(value, NodeId(node.inner), &Path::Key(path, key), place)?;
                    }
                }
                other => self.mismatch(other, id, place),
            },
            Shape::List => match value {
                Value::Array(items) => {
                    for (index, item) in items.iter_mut().enumerate() {
                        self.value(item, NodeId(node.inner), &Path::Index(path, index), place)?;
                    }
                }
                Value::Null => {}
                other => self.mismatch(other, id, place),
            },
            Shape::String if value.is_string() => {}
            Shape::Boolean if value.is_boolean() => {}
            Shape::Number if value.is_number() => {}
            Shape::Integer32 => match value.as_i64() {
                Some(number) if i32::try_from(number).is_ok() => {}
                _ => self.mismatch(value, id, place),
            },
            Shape::Integer64 if value.as_i64().is_some() => {}
            Shape::Bytes => match value {
                Value::String(text) => {
                    if let Some(at) = base64_error(text) {
                        self.type_error.get_or_insert_with(|| format!("illegal base64 data at input byte {at}"));
                    }
                }
                Value::Null => {}
                other => self.mismatch(other, id, place),
            },
            Shape::IntOrString => match value {
                Value::String(_) => {}
                other if other.as_i64().is_some_and(|number| i32::try_from(number).is_ok()) => {}
                other => return Err(unmarshal(other, "value", "int32")),
            },
            Shape::Quantity => {
                let canonical = crate::quantity::canonical(value).map_err(|error| error.to_string())?;
                if value.as_str() != Some(canonical.as_str()) {
                    *value = Value::String(canonical);
                }
            }
            Shape::Time => return time(value, Layout::Seconds),
            Shape::MicroTime => return time(value, Layout::Micro),
            Shape::RawObject | Shape::FieldsV1 | Shape::Json => {}
            Shape::PropsOrArray => match value {
                Value::Object(_) => return self.value(value, NodeId(node.inner), path, place),
                Value::Array(items) => {
                    for (index, item) in items.iter_mut().enumerate() {
                        self.value(item, NodeId(node.inner), &Path::Index(path, index), place)?;
                    }
                }
                other => *other = Value::Null,
            },
            Shape::PropsOrBool => match value {
                Value::Object(_) => return self.value(value, NodeId(node.inner), path, place),
                Value::Bool(_) => {}
                _ => return Err("boolean or JSON schema expected".to_owned()),
            },
            Shape::PropsOrStringArray => match value {
                Value::Object(_) => return self.value(value, NodeId(node.inner), path, place),
                Value::Array(items) if items.iter().all(Value::is_string) => {}
                other => *other = Value::Null,
            },
            Shape::String | Shape::Boolean | Shape::Number | Shape::Integer64 => self.mismatch(value, id, place),
        }
        Ok(())
    }

    fn object(
        &mut self,
        map: &mut Map<String, Value>,
        id: TypeId,
        path: &Path<'_>,
        place: &Place<'_>,
    ) -> Result<(), String> {
        let definitions = self.definitions;
        let of = definitions.type_of(id);
        let mut failed = None;
        map.retain(|key, value| {
            if failed.is_some() {
                return true;
            }
            let here = Path::Key(path, key);
            let Some(index) = definitions.find_property(id, key) else {
                if let Some(additional) = of.additional {
                    failed = self.value(value, additional, &here, place).err();
                } else if !of.preserve_unknown {
                    self.unknown(&here);
                    return false;
                }
                return true;
            };
            let field = definitions.field(index);
            if value.is_null() {
                return normalize::keeps_null(field);
            }
            let inside = Place { owner: Some(id), fields: Fields::Field(&place.fields, key) };
            failed = self.value(value, field.node, &here, &inside).err();
            !value.is_null() && !normalize::is_omitted(definitions, field, value)
        });
        if let Some(failed) = failed {
            return Err(failed);
        }
        normalize::complete(definitions, id, map);
        Ok(())
    }

    fn unknown(&mut self, path: &Path<'_>) {
        if self.names_strict && self.strict.len() < MOST_STRICT_ERRORS {
            self.strict.push(format!("unknown field \"{path}\""));
        }
    }

    fn mismatch(&mut self, value: &Value, id: NodeId, place: &Place<'_>) {
        if self.type_error.is_some() {
            return;
        }
        let wanted = go::type_name(self.definitions, id);
        let target = match place.owner {
            None => "value".to_owned(),
            Some(owner) => {
                let go_name = self.definitions.text(self.definitions.type_of(owner).go_name);
                let name = go_name.split_once('.').map_or(go_name, |(_, name)| name);
                let mut fields = String::new();
                place.fields.write(&mut fields);
                format!("struct field {name}.{fields}")
            }
        };
        self.type_error = Some(unmarshal(value, &target, &wanted));
    }
}

/// `json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32`.
fn unmarshal(value: &Value, target: &str, wanted: &str) -> String {
    let what = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if matches!(wanted, "int32" | "int64") => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        Value::Object(_) => "object".to_owned(),
    };
    format!("json: cannot unmarshal {what} into Go {target} of type {wanted}")
}

fn time(value: &mut Value, layout: Layout) -> Result<(), String> {
    let text = match value {
        Value::String(text) => text,
        // The zero time, as the value under a free key.
        Value::Null => return Ok(()),
        other => return Err(unmarshal(other, "value", "string")),
    };
    let canonical = go::canonical_time(text, layout)?;
    if *text != canonical {
        *text = canonical;
    }
    Ok(())
}

/// Where standard base64 goes wrong, as Go counts it; line breaks are allowed there.
fn base64_error(text: &str) -> Option<usize> {
    let mut digits = 0;
    let mut padding = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'\r' | b'\n' => {}
            b'=' if padding > 0 || digits % 4 >= 2 => {
                padding += 1;
                if digits % 4 + padding > 4 {
                    return Some(at);
                }
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return Some(at),
        }
    }
    ((digits + padding) % 4 != 0).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    fn kind(group: &str, version: &str, kind: &str) -> SchemaRef<'static> {
        builtin().kind(group, version, kind).expect("a built-in kind")
    }

    fn deployment(change: impl FnOnce(&mut Value)) -> Value {
        let mut value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": 3,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "nginx"}]},
                },
            },
        });
        change(&mut value);
        value
    }

    fn error(mut value: Value) -> String {
        decode(&mut value, kind("apps", "v1", "Deployment"), FieldValidation::Strict).unwrap_err().to_string()
    }

    #[test]
    fn type_errors_are_worded_as_go_words_them() {
        let container = "/spec/template/spec/containers/0";
        let set = |pointer: &str, key: &str, to: Value| {
            error(deployment(|value| value.pointer_mut(pointer).unwrap()[key] = to))
        };
        let prefix = "json: cannot unmarshal";
        for (pointer, key, to, expected) in [
            ("/spec", "replicas", json!("3"), "string into Go struct field DeploymentSpec.spec.replicas of type int32"),
            (
                "/spec",
                "replicas",
                json!(1.5),
                "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "/spec",
                "replicas",
                json!(3_000_000_000_i64),
                "number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            ("/spec", "paused", json!("no"), "string into Go struct field DeploymentSpec.spec.paused of type bool"),
            (
                "/spec",
                "template",
                json!([]),
                "array into Go struct field DeploymentSpec.spec.template of type v1.PodTemplateSpec",
            ),
            (
                "/metadata",
                "labels",
                json!({"a": 1}),
                "number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                "/metadata",
                "labels",
                json!("a"),
                "string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
            ),
            (
                container,
                "name",
                json!(1),
                "number into Go struct field Container.spec.template.spec.containers.name of type string",
            ),
            (
                container,
                "imagePullPolicy",
                json!({}),
                "object into Go struct field Container.spec.template.spec.containers.imagePullPolicy of type v1.PullPolicy",
            ),
            (
                "/spec/template/spec",
                "containers",
                json!({}),
                "object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            ("/metadata", "uid", json!(4), "number into Go struct field ObjectMeta.metadata.uid of type types.UID"),
        ] {
            assert_eq!(set(pointer, key, to), format!("{prefix} {expected}"));
        }
        assert_eq!(error(json!([])), "json: cannot unmarshal array into Go value of type v1.Deployment",);
    }

    #[test]
    fn unknown_fields_are_errors_warnings_or_nothing() {
        let value = deployment(|value| {
            value["spec"]["foo"] = json!(1);
            value["spec"]["template"]["spec"]["containers"][0]["bar"] = json!({"x": null});
        });
        let names = vec![
            r#"unknown field "spec.template.spec.containers[0].bar""#.to_owned(),
            r#"unknown field "spec.foo""#.to_owned(),
        ];
        assert_eq!(error(value.clone()), format!("strict decoding error: {}, {}", names[0], names[1]),);
        for (validation, expected) in [(FieldValidation::Warn, names), (FieldValidation::Ignore, vec![])] {
            let mut value = value.clone();
            let warnings = decode(&mut value, kind("apps", "v1", "Deployment"), validation).unwrap();
            assert_eq!(warnings, expected);
            assert_eq!(value.pointer("/spec/foo"), None);
            assert_eq!(value.pointer("/spec/template/spec/containers/0/bar"), None);
        }
    }

    #[test]
    fn the_request_error_names_the_kind() {
        let error = DecodeError::Strict(vec!["unknown field \"spec.foo\"".to_owned()]);
        assert_eq!(
            error.for_request("v1", "Deployment"),
            r#"Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.foo""#,
        );
    }

    #[test]
    fn what_is_left_is_what_go_would_write() {
        let mut value = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": {}, "annotations": null, "creationTimestamp": null},
            "spec": {
                "hostNetwork": false, "activeDeadlineSeconds": 0, "nodeName": "",
                "containers": [{
                    "name": "c", "resources": {"limits": {"cpu": "1000m", "memory": 1024}},
                    "env": [{"name": "A", "value": ""}], "args": [], "stdin": null,
                    "securityContext": {},
                }],
            },
        });
        decode(&mut value, kind("", "v1", "Pod"), FieldValidation::Strict).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p"},
            "spec": {
                "activeDeadlineSeconds": 0,
                "containers": [{
                    "name": "c", "resources": {"limits": {"cpu": "1", "memory": "1024"}}, "env": [{"name": "A"}],
                    "securityContext": {},
                }],
            },
            "status": {},
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn types_with_own_decoders_fail_in_their_own_words() {
        let mut value = json!({"data": {"a": "####"}});
        let error = decode(&mut value, kind("", "v1", "Secret"), FieldValidation::Strict).unwrap_err();
        assert_eq!(error.to_string(), "illegal base64 data at input byte 0");
        let bad = error_of(json!({"metadata": {"creationTimestamp": "x"}}));
        assert!(bad.starts_with("parsing time \"x\" as"), "{bad}");
        let bad = error_of(json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}));
        assert!(bad.starts_with("quantities must match the regular expression"), "{bad}");
    }

    fn error_of(mut value: Value) -> String {
        decode(&mut value, kind("", "v1", "Pod"), FieldValidation::Strict).unwrap_err().to_string()
    }

    #[test]
    fn base64_is_checked_as_go_checks_it() {
        for (text, expected) in [
            ("", None),
            ("QQ==", None),
            ("QUJD", None),
            ("QU\nJD", None),
            ("Q", Some(1)),
            ("QQ=", Some(3)),
            ("QQ==Q", Some(4)),
            ("Q===", Some(1)),
        ] {
            assert_eq!(base64_error(text), expected, "{text:?}");
        }
    }
}
