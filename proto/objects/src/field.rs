//! Validation errors of fields, and how they read.
//!
//! The texts are those that kubectl users know from upstream's API machinery: a path, the kind of mistake, the
//! offending value in JSON and a detail. [`ErrorList`] renders several as upstream's aggregate does.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

/// Where in an object a field lies: `spec.template.spec.containers[0].ports[1]`, `metadata.labels[app]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path(Cow<'static, str>);

impl Path {
    /// A path that starts at a field of the object's root.
    pub fn new(root: impl Into<Cow<'static, str>>) -> Path {
        Path(root.into())
    }

    /// The object itself.
    pub fn root() -> Path {
        Path(Cow::Borrowed(""))
    }

    pub fn child(&self, name: &str) -> Path {
        if self.0.is_empty() {
            return Path(Cow::Owned(name.to_owned()));
        }
        let mut path = String::with_capacity(self.0.len() + name.len() + 1);
        path.push_str(&self.0);
        path.push('.');
        path.push_str(name);
        Path(Cow::Owned(path))
    }

    pub fn index(&self, index: usize) -> Path {
        Path(Cow::Owned(format!("{}[{index}]", self.0)))
    }

    pub fn key(&self, key: &str) -> Path {
        Path(Cow::Owned(format!("{}[{key}]", self.0)))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl From<&'static str> for Path {
    fn from(path: &'static str) -> Path {
        Path(Cow::Borrowed(path))
    }
}

/// The kind of a mistake; its name is the `reason` of a StatusCause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooShort,
    TooMany,
    TooFew,
    Internal,
    TypeInvalid,
}

impl ErrorKind {
    /// The machine-readable reason of a StatusCause.
    pub fn reason(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "FieldValueNotFound",
            ErrorKind::Required => "FieldValueRequired",
            ErrorKind::Duplicate => "FieldValueDuplicate",
            ErrorKind::Invalid => "FieldValueInvalid",
            ErrorKind::NotSupported => "FieldValueNotSupported",
            ErrorKind::Forbidden => "FieldValueForbidden",
            ErrorKind::TooLong => "FieldValueTooLong",
            ErrorKind::TooShort => "FieldValueTooShort",
            ErrorKind::TooMany => "FieldValueTooMany",
            ErrorKind::TooFew => "FieldValueTooFew",
            ErrorKind::Internal => "InternalError",
            ErrorKind::TypeInvalid => "FieldValueTypeInvalid",
        }
    }

    fn text(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "Not found",
            ErrorKind::Required => "Required value",
            ErrorKind::Duplicate => "Duplicate value",
            ErrorKind::Invalid | ErrorKind::TypeInvalid => "Invalid value",
            ErrorKind::NotSupported => "Unsupported value",
            ErrorKind::Forbidden => "Forbidden",
            ErrorKind::TooLong => "Too long",
            ErrorKind::TooShort => "Too short",
            ErrorKind::TooMany => "Too many",
            ErrorKind::TooFew => "Too few",
            ErrorKind::Internal => "Internal error",
        }
    }
}

/// One mistake in one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    pub kind: ErrorKind,
    pub field: String,
    /// The offending value; `None` where upstream leaves it out of the text.
    pub bad_value: Option<Value>,
    pub detail: String,
}

impl FieldError {
    fn new(kind: ErrorKind, path: &Path, bad_value: Option<Value>, detail: impl Into<String>) -> FieldError {
        FieldError { kind, field: path.to_string(), bad_value, detail: detail.into() }
    }

    pub fn not_found(path: &Path, value: impl Into<Value>) -> FieldError {
        FieldError::new(ErrorKind::NotFound, path, Some(value.into()), "")
    }

    pub fn required(path: &Path, detail: impl Into<String>) -> FieldError {
        FieldError::new(ErrorKind::Required, path, None, detail)
    }

    pub fn duplicate(path: &Path, value: impl Into<Value>) -> FieldError {
        FieldError::new(ErrorKind::Duplicate, path, Some(value.into()), "")
    }

    pub fn invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> FieldError {
        FieldError::new(ErrorKind::Invalid, path, Some(value.into()), detail)
    }

    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: impl Into<String>) -> FieldError {
        FieldError::new(ErrorKind::TypeInvalid, path, Some(value.into()), detail)
    }

    /// `supported` in the order in which the text names them.
    pub fn not_supported<S: AsRef<str>>(path: &Path, value: impl Into<Value>, supported: &[S]) -> FieldError {
        let quoted: Vec<String> = supported.iter().map(|value| quote(value.as_ref())).collect();
        let detail = match quoted.is_empty() {
            true => String::new(),
            false => format!("supported values: {}", quoted.join(", ")),
        };
        FieldError::new(ErrorKind::NotSupported, path, Some(value.into()), detail)
    }

    pub fn forbidden(path: &Path, detail: impl Into<String>) -> FieldError {
        FieldError::new(ErrorKind::Forbidden, path, None, detail)
    }

    /// A value of more than `limit` bytes.
    pub fn too_long(path: &Path, limit: usize) -> FieldError {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        FieldError::new(ErrorKind::TooLong, path, None, format!("may not be more than {limit} {unit}"))
    }

    pub fn too_many(path: &Path, actual: usize, limit: usize) -> FieldError {
        let unit = if limit == 1 { "item" } else { "items" };
        FieldError::new(ErrorKind::TooMany, path, Some(actual.into()), format!("must have at most {limit} {unit}"))
    }

    pub fn internal(path: &Path, detail: impl Into<String>) -> FieldError {
        FieldError::new(ErrorKind::Internal, path, None, detail)
    }

    /// What an update may not change.
    pub fn immutable(path: &Path, new_value: impl Into<Value>) -> FieldError {
        FieldError::invalid(path, new_value, IMMUTABLE)
    }

    /// The text without the field, as a StatusCause carries it.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        if let Some(value) = &self.bad_value {
            text.push_str(": ");
            match value {
                Value::String(string) => text.push_str(&quote(string)),
                other => text.push_str(&other.to_string()),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

/// The detail of a change to a field that may not change.
pub const IMMUTABLE: &str = "field is immutable";

impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.body())
    }
}

impl std::error::Error for FieldError {}

pub type ErrorList = Vec<FieldError>;

/// Several mistakes in one text: the only one as it is, more in brackets, each text once.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(errors.len());
    for error in errors {
        let text = error.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.len() {
        1 => texts.remove(0),
        _ => format!("[{}]", texts.join(", ")),
    }
}

/// A string in double quotes with Go's escapes, as `%q` prints it.
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\x0b' => quoted.push_str("\\v"),
            control if (control as u32) < 0x20 || control as u32 == 0x7f => {
                quoted.push_str(&format!("\\x{:02x}", control as u32));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_read_as_upstream_prints_them() {
        let replicas = Path::new("spec").child("replicas");
        let table = [
            (
                FieldError::invalid(&replicas, -1, "must be greater than or equal to 0"),
                "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (FieldError::required(&Path::new("spec").child("selector"), ""), "spec.selector: Required value"),
            (
                FieldError::not_supported(&Path::new("spec").child("restartPolicy"), "x", &["Always", "Never"]),
                "spec.restartPolicy: Unsupported value: \"x\": supported values: \"Always\", \"Never\"",
            ),
            (
                FieldError::duplicate(&Path::new("spec").child("containers").index(1).child("name"), "a"),
                "spec.containers[1].name: Duplicate value: \"a\"",
            ),
            (
                FieldError::invalid(&Path::new("metadata").child("labels").key("a"), json!({"b": 1}), "bad"),
                "metadata.labels[a]: Invalid value: {\"b\":1}: bad",
            ),
            (FieldError::too_long(&Path::new("data"), 10), "data: Too long: may not be more than 10 bytes"),
            (FieldError::too_many(&Path::new("x"), 3, 1), "x: Too many: 3: must have at most 1 item"),
            (FieldError::invalid(&Path::new("x"), Value::Null, "d"), "x: Invalid value: null: d"),
        ];
        for (error, text) in table {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn an_aggregate_names_each_text_once() {
        let first = FieldError::required(&Path::new("a"), "");
        let second = FieldError::required(&Path::new("b"), "");
        assert_eq!(aggregate(std::slice::from_ref(&first)), "a: Required value");
        assert_eq!(aggregate(&[first.clone(), second, first]), "[a: Required value, b: Required value]");
    }
}
