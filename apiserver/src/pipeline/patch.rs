//! patch: JSON patch, merge patch and strategic merge patch, applied to the newest object as an update is.

use std::sync::Arc;

use keelson_objects::{
    patch::{self, json_patch, merge_patch, strategic_merge},
    schema::{self, Limits},
    status::{Details, StatusError},
};
use serde_json::Value;

use super::{
    Answer, PATCH_TYPES, Pipeline, Request,
    codec::{self, BODY_LIMIT, DEPTH_LIMIT, Expected},
    update::style_of,
    write::Current,
};

/// A decoded patch.
pub(super) enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    pub fn decode(request: &Request) -> Result<Patch, StatusError> {
        let limits = Limits { depth: DEPTH_LIMIT, bytes: BODY_LIMIT, ..Limits::default() };
        let parse = || {
            schema::parse_json(&request.body.bytes, &limits)
                .map(|parsed| parsed.value)
                .map_err(|error| StatusError::bad_request(format!("error decoding patch: {error}")))
        };
        let object = || match parse()? {
            patch @ Value::Object(_) => Ok(patch),
            _ => Err(StatusError::bad_request("error decoding patch: the patch must be a JSON object")),
        };
        match request.body.content_type.as_str() {
            "application/json-patch+json" => Ok(Patch::Json(parse()?)),
            "application/merge-patch+json" => Ok(Patch::Merge(object()?)),
            "application/strategic-merge-patch+json" => Ok(Patch::Strategic(object()?)),
            _ => Err(StatusError::unsupported_media_type(PATCH_TYPES)),
        }
    }

    /// The patched object, not yet checked.
    pub fn apply(&self, object: &Value, expected: Expected<'_>) -> Result<Value, StatusError> {
        let mut object = object.clone();
        let applied = match self {
            Patch::Json(operations) => json_patch(&mut object, operations),
            Patch::Merge(patch) => {
                merge_patch(&mut object, patch);
                Ok(())
            }
            Patch::Strategic(patch) => match expected.schema() {
                Some(schema) => strategic_merge(&mut object, patch, &schema),
                None => Err(patch::Error::Unsupported),
            },
        };
        applied.map_err(|error| match error {
            patch::Error::Malformed(text) => StatusError::bad_request(text),
            patch::Error::TooManyOperations(_) => StatusError::request_entity_too_large(error),
            patch::Error::Unsupported => StatusError::unsupported_media_type(&PATCH_TYPES[..2]),
            patch::Error::Inapplicable(reason) => {
                // Upstream does not tell the client which operation it was, and clients know the text by heart.
                tracing::debug!(reason, "a JSON patch does not apply");
                let mut status = StatusError::invalid("", "", "", &[]).into_status();
                status.message = "the server rejected our request due to an error in our request".to_owned();
                status.details = Some(Details::default());
                status.into()
            }
        })?;
        Ok(object)
    }
}

impl Pipeline {
    pub(super) async fn patch(self: &Arc<Pipeline>, request: &Request) -> Result<Answer, StatusError> {
        let kind = request.kind.clone();
        let patch = Patch::decode(request)?;
        let expected = Expected::of(&kind);
        let mut make = |current: &Current| {
            let mut object = patch.apply(&current.value, expected)?;
            let warnings = codec::check(&mut object, Vec::new(), expected, &request.options.field_validation)?;
            Ok((object, warnings))
        };
        let (json, warnings) = self.rewrite(request, style_of(&kind, &request.subresource)?, &mut make).await?;
        Ok(Answer { warnings, ..Answer::bytes(200, json) })
    }
}
