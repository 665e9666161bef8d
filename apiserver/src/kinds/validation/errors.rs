//! Collecting the mistakes of an object.

use keelson_objects::field::{ErrorKind, FieldError, IMMUTABLE};
use serde_json::Value;

use super::{Path, same};

/// The mistakes found so far. Bounded: an object cannot make its own refusal arbitrarily large.
#[derive(Default)]
pub struct Errors {
    found: Vec<FieldError>,
}

/// More mistakes than anybody reads.
const LIMIT: usize = 200;

impl Errors {
    pub fn new() -> Errors {
        Errors::default()
    }

    pub fn into_vec(self) -> Vec<FieldError> {
        self.found
    }

    pub fn len(&self) -> usize {
        self.found.len()
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    fn push(&mut self, kind: ErrorKind, path: &Path, bad_value: Option<Value>, detail: impl Into<String>) {
        if self.found.len() < LIMIT {
            self.found.push(FieldError { kind, field: path.to_string(), bad_value, detail: detail.into() });
        }
    }

    pub fn required(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(ErrorKind::Required, path, None, detail);
    }

    pub fn invalid(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(ErrorKind::Invalid, path, Some(value.into()), detail);
    }

    pub fn forbidden(&mut self, path: &Path, detail: impl Into<String>) {
        self.push(ErrorKind::Forbidden, path, None, detail);
    }

    pub fn duplicate(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(ErrorKind::Duplicate, path, Some(value.into()), "");
    }

    /// A duplicate that needs a word of explanation.
    pub fn duplicate_because(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(ErrorKind::Duplicate, path, Some(value.into()), detail);
    }

    pub fn not_found(&mut self, path: &Path, value: impl Into<Value>) {
        self.push(ErrorKind::NotFound, path, Some(value.into()), "");
    }

    pub fn not_found_because(&mut self, path: &Path, value: impl Into<Value>, detail: impl Into<String>) {
        self.push(ErrorKind::NotFound, path, Some(value.into()), detail);
    }

    pub fn too_long(&mut self, path: &Path, limit: usize) {
        let unit = if limit == 1 { "byte" } else { "bytes" };
        self.push(ErrorKind::TooLong, path, None, format!("may not be more than {limit} {unit}"));
    }

    pub fn too_many(&mut self, path: &Path, actual: usize, limit: usize) {
        let unit = if limit == 1 { "item" } else { "items" };
        self.push(ErrorKind::TooMany, path, Some(actual.into()), format!("must have at most {limit} {unit}"));
    }

    /// The supported values are listed in sorted order, as upstream lists its sets.
    pub fn not_supported(&mut self, path: &Path, value: impl Into<Value>, supported: &[&str]) {
        let mut supported = supported.to_vec();
        supported.sort_unstable();
        let quoted: Vec<String> = supported.iter().map(|value| format!("{value:?}")).collect();
        let detail = format!("supported values: {}", quoted.join(", "));
        self.push(ErrorKind::NotSupported, path, Some(value.into()), detail);
    }

    /// A field that must be set, and to one of these.
    pub fn one_of(&mut self, path: &Path, value: &str, supported: &[&str]) {
        if value.is_empty() {
            self.required(path, "");
        } else if !supported.contains(&value) {
            self.not_supported(path, value, supported);
        }
    }

    /// One error for each message about the value.
    pub fn messages(&mut self, path: &Path, value: &str, messages: Vec<String>) {
        for message in messages {
            self.invalid(path, value, message);
        }
    }

    pub fn immutable(&mut self, path: &Path, new: &Value, old: &Value) {
        if !same(new, old) {
            self.invalid(path, new.clone(), IMMUTABLE);
        }
    }

    pub fn non_negative(&mut self, path: &Path, value: Option<i64>) {
        if let Some(value) = value.filter(|value| *value < 0) {
            self.invalid(path, value, "must be greater than or equal to 0");
        }
    }
}
