//! Other views of objects: server-side tables and metadata alone.

use keelson_objects::{status::StatusError, time};
use serde_json::{Value, json};

use super::accept::View;
use crate::{
    cache::Listing,
    registry::{IncludeObject, Kind},
    tables,
};

pub(super) fn include_object(text: &str) -> Result<IncludeObject, StatusError> {
    match text {
        "" | "Metadata" => Ok(IncludeObject::Metadata),
        "None" => Ok(IncludeObject::None),
        "Object" => Ok(IncludeObject::Object),
        other => Err(StatusError::bad_request(format!("unrecognized includeObject value: {other:?}"))),
    }
}

/// A single object in this view. Statuses stay as they are.
pub(super) fn of_object(kind: &Kind, object: Value, view: View, include: IncludeObject, with_columns: bool) -> Value {
    if object["kind"] == "Status" && object["apiVersion"] == "v1" {
        return object;
    }
    match view {
        View::Plain => object,
        View::Metadata => metadata_of(&object),
        View::Table(version) => {
            let meta = tables::Meta {
                resource_version: keelson_objects::meta::resource_version(&object).to_owned(),
                ..tables::Meta::default()
            };
            tables::render(kind, [&object], include, &meta, version, with_columns, time::now().as_second())
        }
    }
}

/// A list in this view.
pub(super) fn of_list(listing: &Listing, view: View, include: IncludeObject) -> Result<Value, StatusError> {
    let mut objects: Vec<Value> = listing.entries.iter().map(|entry| entry.value()).collect::<Result<_, _>>()?;
    let revision = listing.revision.to_string();
    if let View::Table(version) = view {
        let meta = tables::Meta {
            resource_version: revision,
            continue_token: listing.continue_token.clone(),
            remaining_item_count: listing.remaining.and_then(|remaining| i64::try_from(remaining).ok()),
        };
        return Ok(tables::render(&listing.kind, &objects, include, &meta, version, true, time::now().as_second()));
    }
    let mut metadata = json!({ "resourceVersion": revision });
    if !listing.continue_token.is_empty() {
        metadata["continue"] = listing.continue_token.as_str().into();
    }
    if let Some(remaining) = listing.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    Ok(match view {
        View::Metadata => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": objects.iter().map(metadata_of).collect::<Vec<_>>(),
        }),
        _ => {
            for object in objects.iter_mut().filter_map(Value::as_object_mut) {
                object.shift_remove("apiVersion");
                object.shift_remove("kind");
            }
            json!({
                "kind": listing.kind.list_kind,
                "apiVersion": listing.kind.api_version(),
                "metadata": metadata,
                "items": objects,
            })
        }
    })
}

fn metadata_of(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}
