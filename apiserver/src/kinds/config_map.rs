//! ConfigMap (core/v1).

use keelson_objects::field::FieldError;
use serde_json::Value;

use super::fields::{Fields, same};
use super::validation::{Errors, Path, names};
use crate::registry::{Cell, Column, Context, Kind, Strategy};
use crate::tables::cells;

/// All values together, of a ConfigMap or of a Secret.
pub const SIZE_LIMIT: usize = 1024 * 1024;

const SET_IN_STONE: &str = "field is immutable when `immutable` is set";

pub fn kind() -> Kind {
    Kind::new("", "v1", "ConfigMap", "configmaps")
        .short_names(&["cm"])
        .columns(vec![
            cells::name_column(),
            Column::new(
                "Data",
                "string",
                "How many keys there are.",
                Cell::Read(|map, _| {
                    let count = |field: &str| map.map(field).map_or(0, |entries| entries.len());
                    (count("data") + count("binaryData")).into()
                }),
            ),
            cells::age_column(),
        ])
        .strategy(ConfigMapStrategy)
}

struct ConfigMapStrategy;

impl Strategy for ConfigMapStrategy {
    fn validate(&self, _context: &Context<'_>, map: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        let binary = map.map("binaryData");
        let mut size = 0;
        let data_path = Path::root("data");
        for (key, value) in map.entries("data") {
            let path = data_path.key(key);
            errors.messages(&path, key, names::config_map_key(key));
            if binary.is_some_and(|binary| binary.contains_key(key)) {
                errors.invalid(&path, key, "duplicate of key present in binaryData");
            }
            size += value.len();
        }
        let binary_path = Path::root("binaryData");
        for (key, value) in map.entries("binaryData") {
            errors.messages(&binary_path.key(key), key, names::config_map_key(key));
            size += decoded_length(value);
        }
        if size > SIZE_LIMIT {
            errors.too_long(&Path::root(""), SIZE_LIMIT);
        }
        errors.into_vec()
    }

    fn validate_update(&self, _context: &Context<'_>, map: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::new();
        validate_immutable(map, old, &["data", "binaryData"], &mut errors);
        errors.into_vec()
    }
}

/// What `immutable: true` holds fast: itself and the data.
pub fn validate_immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    if old.flag("immutable") != Some(true) {
        return;
    }
    if new.flag("immutable") != Some(true) {
        errors.forbidden(&Path::root("immutable"), SET_IN_STONE);
    }
    for field in fields {
        let equal = match (new.map(field), old.map(field)) {
            (Some(new), Some(old)) => new == old,
            _ => same(new.sub(field), old.sub(field)),
        };
        if !equal {
            errors.forbidden(&Path::root(field), SET_IN_STONE);
        }
    }
}

/// The length of what a base64 text stands for.
pub fn decoded_length(base64: &str) -> usize {
    let padding = base64.bytes().rev().take_while(|byte| *byte == b'=').count();
    (base64.len() / 4 * 3).saturating_sub(padding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_immutable_map_keeps_its_data() {
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let check = |new: Value| {
            let mut errors = Errors::new();
            validate_immutable(&new, &old, &["data", "binaryData"], &mut errors);
            errors.into_vec().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(check(json!({"immutable": true, "data": {"a": "1"}, "binaryData": {}})).is_empty());
        assert_eq!(
            check(json!({"data": {"a": "2"}})),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
        assert_eq!(check(json!({"immutable": true, "data": {"a": "1", "b": ""}})).len(), 1);
    }

    #[test]
    fn base64_is_measured_without_decoding() {
        assert_eq!(decoded_length(""), 0);
        assert_eq!(decoded_length("YQ=="), 1);
        assert_eq!(decoded_length("YWJj"), 3);
    }
}
