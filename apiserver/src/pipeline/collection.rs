//! deletecollection: each object of a selection is deleted as if it were named.

use std::sync::Arc;

use futures::{StreamExt, stream};
use keelson_objects::status::StatusError;

use super::{Answer, Content, Pipeline, Request, delete::delete_options};
use crate::cache::Selection;

/// Deletes that are under way at once for one request.
const CONCURRENT: usize = 32;

impl Pipeline {
    pub(super) async fn delete_collection(self: &Arc<Pipeline>, request: &Request) -> Result<Answer, StatusError> {
        let delete = delete_options(request)?;
        let options = &request.options;
        let selection =
            Selection::parse(&request.kind, &request.namespace, &options.label_selector, &options.field_selector)?;
        let listing = self.cache.list(&self.store, &request.kind, &selection, options).await?;
        let deletes = stream::iter(listing.entries.clone()).map(|entry| {
            let delete = &delete;
            async move {
                let mut each = request.clone();
                each.namespace = entry.namespace().to_owned();
                each.name = entry.name().to_owned();
                match self.delete_one(&each, entry.name(), delete).await {
                    // Gone before we came is gone.
                    Err(error) if !error.is_not_found() => Err(error),
                    _ => Ok(()),
                }
            }
        });
        let outcomes: Vec<_> = deletes.buffer_unordered(CONCURRENT).collect().await;
        outcomes.into_iter().collect::<Result<(), StatusError>>()?;
        Ok(Answer { code: 200, content: Content::List(listing), warnings: Vec::new() })
    }
}
