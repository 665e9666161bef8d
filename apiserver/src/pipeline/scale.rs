//! The scale subresource: autoscaling/v1 Scale as a view of an object, for every kind that says where its replicas are.

use std::sync::Arc;

use keelson_objects::{
    field::{FieldError, Path},
    meta,
    selector::label,
    status::StatusError,
};
use serde_json::{Map, Value, json};

use super::{
    Answer, Pipeline, Request,
    codec::{self, Expected},
    patch::Patch,
    update::Style,
    write::Current,
};
use crate::registry::{ScalePaths, Verb};

const SCALE: Expected<'static> = Expected { group: "autoscaling", version: "v1", kind: "Scale" };

impl Pipeline {
    pub(super) async fn scale(
        self: &Arc<Pipeline>,
        request: &Request,
        paths: ScalePaths,
    ) -> Result<Answer, StatusError> {
        if request.verb == Verb::Get {
            self.cache.caught_up(&self.store).await?;
            let entry = self.cache.get(&request.kind, &request.namespace, &request.name);
            let entry =
                entry.ok_or_else(|| StatusError::not_found(&request.kind.as_group_resource(), &request.name))?;
            return Ok(Answer::value(200, &view(&entry.value()?, paths)));
        }
        let asked = match request.verb {
            Verb::Patch => Asked::Patch(Patch::decode(request)?),
            _ => Asked::Whole(codec::decode_as(request, SCALE)?.0),
        };
        let mut make = |current: &Current| {
            let scale = match &asked {
                Asked::Whole(scale) => scale.clone(),
                Asked::Patch(patch) => {
                    let mut scale = patch.apply(&view(&current.value, paths), SCALE)?;
                    codec::check(&mut scale, Vec::new(), SCALE, &request.options.field_validation)?;
                    scale
                }
            };
            Ok((scaled(&current.value, &scale, paths)?, Vec::new()))
        };
        let (json, warnings) = self.rewrite(request, Style::Main, &mut make).await?;
        let object: Value = serde_json::from_slice(&json).map_err(StatusError::internal)?;
        Ok(Answer { warnings, ..Answer::value(200, &view(&object, paths)) })
    }
}

enum Asked {
    Whole(Value),
    Patch(Patch),
}

/// The object with the replicas that the Scale asks for. Versions and uid of the Scale are the object's.
fn scaled(object: &Value, scale: &Value, paths: ScalePaths) -> Result<Value, StatusError> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or_default();
    if replicas < 0 {
        let path = Path::new("spec").child("replicas");
        let error = FieldError::invalid(&path, replicas, "must be greater than or equal to 0");
        return Err(StatusError::invalid("autoscaling", "Scale", meta::name(object), &[error]));
    }
    let mut wanted = object.clone();
    for field in ["resourceVersion", "uid"] {
        if let Some(value) = scale["metadata"].get(field).and_then(Value::as_str).filter(|value| !value.is_empty()) {
            meta::set_text(&mut wanted, field, value);
        }
    }
    if scale["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
        meta::set_resource_version(&mut wanted, "");
    }
    set_at(&mut wanted, paths.spec_replicas, replicas.into());
    Ok(wanted)
}

fn at<'a>(object: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(object, |value, member| value.get(*member).unwrap_or(&Value::Null))
}

fn set_at(object: &mut Value, path: &[&str], value: Value) {
    let mut place = object;
    for member in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = place.as_object_mut().expect("made an object above").entry(*member).or_insert(Value::Null);
    }
    *place = value;
}

/// The Scale of an object.
fn view(object: &Value, paths: ScalePaths) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object["metadata"].get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let selector = selector_text(at(object, paths.selector));
    let mut status = json!({ "replicas": at(object, paths.status_replicas).as_i64().unwrap_or_default() });
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": { "replicas": at(object, paths.spec_replicas).as_i64().unwrap_or_default() },
        "status": status,
    })
}

fn selector_text(selector: &Value) -> String {
    let is_label_selector = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    let parsed = if is_label_selector {
        label::Selector::from_value(selector)
    } else {
        label::Selector::from_value(&json!({ "matchLabels": selector }))
    };
    parsed.map(|selector| selector.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: ScalePaths = ScalePaths {
        spec_replicas: &["spec", "replicas"],
        status_replicas: &["status", "replicas"],
        selector: &["spec", "selector"],
    };

    #[test]
    fn a_scale_shows_and_sets_replicas() {
        let object = json!({
            "metadata": {"name": "d", "resourceVersion": "5", "labels": {"x": "y"}},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "d"}}},
            "status": {"replicas": 2},
        });
        let mut scale = view(&object, PATHS);
        assert_eq!(scale["spec"]["replicas"], 3);
        assert_eq!(scale["status"], json!({"replicas": 2, "selector": "app=d"}));
        scale["spec"]["replicas"] = 7.into();
        assert_eq!(scaled(&object, &scale, PATHS).unwrap()["spec"]["replicas"], 7);
        scale["spec"]["replicas"] = (-1).into();
        assert_eq!(scaled(&object, &scale, PATHS).unwrap_err().code(), 422);
    }
}
