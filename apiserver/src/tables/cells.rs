//! Cells that several kinds have.

use serde_json::Value;

use super::age;
use crate::kinds::fields::Fields;
use crate::registry::{Cell, Column};

pub const NONE: &str = "<none>";

/// The text, or `<none>`.
pub fn or_none(text: &str) -> Value {
    if text.is_empty() { NONE.into() } else { text.into() }
}

pub fn name_column() -> Column {
    let mut column = Column::new(
        "Name",
        "string",
        "The name, unique within a namespace among objects of this kind.",
        Cell::Path(&["metadata", "name"]),
    );
    column.format = "name".into();
    column
}

pub fn age_column() -> Column {
    Column::new("Age", "string", "The time since the object was created.", Cell::Age)
}

/// A number that reads as 0 when it is absent.
pub fn count(object: &Value, path: &[&str]) -> Value {
    object.at(path).as_i64().unwrap_or(0).into()
}

/// `a=1,b=2`, or `<none>`.
pub fn labels(labels: &Value) -> String {
    let mut pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    if pairs.is_empty() {
        return NONE.to_owned();
    }
    pairs.sort_unstable();
    pairs.join(",")
}

/// A label selector in the form of `kubectl -l`.
pub fn selector(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> =
        selector.entries("matchLabels").map(|(key, value)| (key.to_owned(), format!("{key}={value}"))).collect();
    for expression in selector.items("matchExpressions") {
        let key = expression.text("key");
        let mut values: Vec<&str> = expression.strings("values").collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        parts.push((key.to_owned(), text));
    }
    if parts.is_empty() {
        return NONE.to_owned();
    }
    parts.sort();
    parts.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(",")
}

/// Names and images of a template's containers, each joined by commas.
pub fn containers(template: &Value) -> (String, String) {
    let join = |field: &str| {
        template
            .sub("spec")
            .items("containers")
            .iter()
            .map(|container| container.text(field))
            .collect::<Vec<_>>()
            .join(",")
    };
    (join("name"), join("image"))
}

/// CONTAINERS, IMAGES and SELECTOR of a workload kind.
pub fn workload_columns() -> Vec<Column> {
    vec![
        Column::new(
            "Containers",
            "string",
            "Names of each container in the template.",
            Cell::Read(|object, _| containers(object.at(&["spec", "template"])).0.into()),
        )
        .wide(),
        Column::new(
            "Images",
            "string",
            "Images referenced by each container in the template.",
            Cell::Read(|object, _| containers(object.at(&["spec", "template"])).1.into()),
        )
        .wide(),
        Column::new(
            "Selector",
            "string",
            "The label selector that finds this object's pods.",
            Cell::Read(|object, _| selector(object.at(&["spec", "selector"])).into()),
        )
        .wide(),
    ]
}

/// The time since `time`, for cells that are no plain age.
pub fn since(time: &Value, now: i64) -> String {
    age::since(time, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn selectors_read_as_the_command_line_takes_them() {
        let object = json!({
            "matchLabels": {"b": "2", "a": "1"},
            "matchExpressions": [
                {"key": "c", "operator": "In", "values": ["y", "x"]},
                {"key": "d", "operator": "DoesNotExist"},
            ],
        });
        assert_eq!(selector(&object), "a=1,b=2,c in (x,y),!d");
        assert_eq!(selector(&Value::Null), "<none>");
        assert_eq!(labels(&json!({"b": "2", "a": "1"})), "a=1,b=2");
    }
}
