//! Reading objects that are plain JSON.
//!
//! The decoder has checked types against the schema before a strategy sees an object, so a field of the wrong type
//! reads as absent here instead of being an error a second time.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

pub trait Fields {
    /// The field, or `null`.
    fn sub(&self, name: &str) -> &Value;
    /// The string in the field, empty when there is none.
    fn text(&self, name: &str) -> &str;
    fn int(&self, name: &str) -> Option<i64>;
    fn flag(&self, name: &str) -> Option<bool>;
    /// The list in the field, empty when there is none.
    fn items(&self, name: &str) -> &[Value];
    fn map(&self, name: &str) -> Option<&Map<String, Value>>;
    /// Set, and not to `null`.
    fn present(&self, name: &str) -> bool;
    /// A field deeper down: `at(&["spec", "nodeName"])`.
    fn at(&self, path: &[&str]) -> &Value;

    /// The string entries of a map such as labels.
    fn entries<'a>(&'a self, name: &str) -> Box<dyn Iterator<Item = (&'a str, &'a str)> + 'a> {
        match self.map(name) {
            Some(map) => Box::new(map.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or("")))),
            None => Box::new(std::iter::empty()),
        }
    }

    /// The strings of a list such as finalizers.
    fn strings<'a>(&'a self, name: &str) -> Box<dyn Iterator<Item = &'a str> + 'a> {
        Box::new(self.items(name).iter().filter_map(Value::as_str))
    }
}

impl Fields for Value {
    fn sub(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&NULL)
    }

    fn text(&self, name: &str) -> &str {
        self.get(name).and_then(Value::as_str).unwrap_or("")
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Value::as_i64)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).and_then(Value::as_bool)
    }

    fn items(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn map(&self, name: &str) -> Option<&Map<String, Value>> {
        self.get(name).and_then(Value::as_object)
    }

    fn present(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_null())
    }

    fn at(&self, path: &[&str]) -> &Value {
        path.iter().fold(self, |value, name| value.sub(name))
    }
}

/// Writing the same objects.
pub trait FieldsMut {
    /// The object in the field, made when it is absent, null or no object.
    fn object(&mut self, name: &str) -> &mut Value;
    /// Sets the field, or removes it where the value is null; a value that is no object becomes one.
    fn put(&mut self, name: &str, value: impl Into<Value>);
    /// Sets the field when it is absent or null.
    fn put_if_absent(&mut self, name: &str, value: impl Into<Value>);
    fn remove_field(&mut self, name: &str) -> Option<Value>;
    /// The list in the field, empty when there is none.
    fn items_mut(&mut self, name: &str) -> &mut [Value];
}

impl FieldsMut for Value {
    fn object(&mut self, name: &str) -> &mut Value {
        if !self.is_object() {
            *self = Value::Object(Map::new());
        }
        let field = &mut self[name];
        if !field.is_object() {
            *field = Value::Object(Map::new());
        }
        field
    }

    fn put(&mut self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        if value.is_null() {
            self.remove_field(name);
            return;
        }
        if !self.is_object() {
            *self = Value::Object(Map::new());
        }
        self[name] = value;
    }

    fn put_if_absent(&mut self, name: &str, value: impl Into<Value>) {
        if !self.present(name) {
            self.put(name, value);
        }
    }

    fn remove_field(&mut self, name: &str) -> Option<Value> {
        // shift_remove keeps the order of the remaining fields, so an object reads as its author wrote it
        self.as_object_mut().and_then(|object| object.shift_remove(name))
    }

    fn items_mut(&mut self, name: &str) -> &mut [Value] {
        self.get_mut(name).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
    }
}

/// Whether two fields say the same. Absent, null, and a field's zero value are alike: upstream compares decoded
/// structs, in which they cannot be told apart.
pub fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(key, value)| same(value, b.get(key).unwrap_or(&NULL)))
                && b.iter().all(|(key, value)| a.contains_key(key) || is_empty(value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (a, b) => a == b || (is_empty(a) && is_empty(b)),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_and_empty_are_the_same() {
        assert!(same(&json!({"a": 1, "b": []}), &json!({"a": 1})));
        assert!(same(&json!({"a": {"b": null}}), &json!({})));
        assert!(!same(&json!({"a": [1]}), &json!({"a": []})));
        assert!(!same(&json!({"a": 1}), &json!({"a": 1, "b": 2})));
        assert!(!same(&json!({"a": ""}), &json!({"a": "x"})));
    }

    #[test]
    fn putting_null_removes() {
        let mut object = json!({"a": 1, "b": 2});
        object.put("a", Value::Null);
        object.put("c", 3);
        object.put_if_absent("b", 9);
        assert_eq!(object, json!({"b": 2, "c": 3}));
        let mut nothing = Value::Null;
        nothing.object("spec").put("x", true);
        assert_eq!(nothing, json!({"spec": {"x": true}}));
    }

    #[test]
    fn reading_a_missing_field_is_quiet() {
        let object = json!({"spec": {"ports": [{"port": 80}]}});
        assert_eq!(object.at(&["spec", "nodeName"]), &Value::Null);
        assert_eq!(object.sub("spec").items("ports")[0].int("port"), Some(80));
        assert_eq!(object.sub("status").text("phase"), "");
    }
}
