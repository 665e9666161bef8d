//! A table as JSON: `meta.k8s.io/v1 Table` with its columns and one row an object.

use serde_json::{Map, Value, json};

use super::{age, cells, conditions, json_path};
use crate::kinds::fields::Fields;
use crate::registry::{Cell, Column, IncludeObject, Kind};

/// The metadata of the list that the table stands for.
#[derive(Debug, Default, Clone)]
pub struct Meta {
    pub resource_version: String,
    pub continue_token: String,
    pub remaining_item_count: Option<i64>,
}

/// Renders `objects`, which carry their resourceVersion. `version` is the Table's own (`v1` or `v1beta1`), and `now` in
/// seconds since the epoch. Watchers leave the columns out after their first event (`with_columns`).
pub fn render<'a>(
    kind: &Kind,
    objects: impl IntoIterator<Item = &'a Value>,
    include: IncludeObject,
    meta: &Meta,
    version: &str,
    with_columns: bool,
    now: i64,
) -> Value {
    let columns = columns(kind);
    let rows: Vec<Value> =
        objects.into_iter().map(|object| row(kind, &columns, object, include, version, now)).collect();
    let definitions = if with_columns { columns.iter().map(definition).collect() } else { Value::Null };
    let mut metadata = Map::new();
    if !meta.resource_version.is_empty() {
        metadata.insert("resourceVersion".to_owned(), meta.resource_version.clone().into());
    }
    if !meta.continue_token.is_empty() {
        metadata.insert("continue".to_owned(), meta.continue_token.clone().into());
    }
    if let Some(count) = meta.remaining_item_count {
        metadata.insert("remainingItemCount".to_owned(), count.into());
    }
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn columns(kind: &Kind) -> Vec<Column> {
    if kind.columns.is_empty() {
        return vec![cells::name_column(), cells::age_column()];
    }
    let mut columns = kind.columns.clone();
    if !columns.iter().any(|column| column.name == "Name") {
        columns.insert(0, cells::name_column());
    }
    columns
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

fn row(kind: &Kind, columns: &[Column], object: &Value, include: IncludeObject, version: &str, now: i64) -> Value {
    let cells: Vec<Value> = columns.iter().map(|column| cell(column, object, now)).collect();
    let mut row = Map::new();
    row.insert("cells".to_owned(), cells.into());
    if let Some(conditions) = conditions::of_row(kind, object) {
        row.insert("conditions".to_owned(), conditions);
    }
    let shown = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Object => object.clone(),
        IncludeObject::Metadata => json!({
            "kind": "PartialObjectMetadata",
            "apiVersion": format!("meta.k8s.io/{version}"),
            "metadata": object.sub("metadata"),
        }),
    };
    row.insert("object".to_owned(), shown);
    Value::Object(row)
}

fn cell(column: &Column, object: &Value, now: i64) -> Value {
    match &column.cell {
        Cell::Path(path) => object.at(path).clone(),
        Cell::Age => age::since(object.sub("metadata").sub("creationTimestamp"), now).into(),
        Cell::Read(read) => read(object, now),
        Cell::JsonPath(path) => match (json_path::first(object, path), column.kind.as_ref()) {
            (Some(time), "date") => age::since(time, now).into(),
            (Some(Value::String(text)), _) => text.clone().into(),
            (Some(value), "string") => value.to_string().into(),
            (Some(value), _) => value.clone(),
            (None, _) => Value::Null,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_without_columns_shows_name_and_age() {
        let kind = Kind::new("", "v1", "ConfigMap", "configmaps");
        let object = json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:00:10Z"}});
        let meta = Meta { resource_version: "7".to_owned(), ..Meta::default() };
        let table = render(&kind, [&object], IncludeObject::Metadata, &meta, "v1", true, 70);
        assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
        assert_eq!(table["rows"][0]["cells"], json!(["a", "60s"]));
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["rows"][0]["object"]["metadata"]["name"], "a");
    }
}
