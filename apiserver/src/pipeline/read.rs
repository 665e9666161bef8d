//! get, list and watch: everything from the watch cache.

use std::sync::Arc;

use keelson_objects::status::StatusError;

use super::{Answer, Content, Pipeline, Request};
use crate::cache::Selection;

impl Pipeline {
    pub(super) async fn get(&self, request: &Request) -> Result<Answer, StatusError> {
        match request.options.resource_version.as_str() {
            "" => self.cache.caught_up(&self.store).await?,
            "0" => {}
            text => {
                let revision = text
                    .parse()
                    .map_err(|_| StatusError::bad_request(format!("invalid resource version: {text:?}")))?;
                self.cache.reached(revision).await?;
            }
        }
        match self.cache.get(&request.kind, &request.namespace, &request.name) {
            Some(entry) => Ok(Answer::bytes(200, entry.json().clone())),
            None => Err(StatusError::not_found(&request.kind.as_group_resource(), &request.name)),
        }
    }

    pub(super) async fn list(&self, request: &Request) -> Result<Answer, StatusError> {
        let options = &request.options;
        validate_versions(options, false)?;
        let selection =
            Selection::parse(&request.kind, &request.namespace, &options.label_selector, &options.field_selector)?;
        let listing = self.cache.list(&self.store, &request.kind, &selection, options).await?;
        Ok(Answer { code: 200, content: Content::List(listing), warnings: Vec::new() })
    }

    pub(super) async fn watch(self: &Arc<Pipeline>, request: &Request) -> Result<Answer, StatusError> {
        let options = &request.options;
        validate_versions(options, true)?;
        let mut selection =
            Selection::parse(&request.kind, &request.namespace, &options.label_selector, &options.field_selector)?;
        if !request.name.is_empty() {
            selection = selection.named(&request.name);
        }
        let stream = self.cache.watch(&self.store, &request.kind, selection, options).await?;
        Ok(Answer { code: 200, content: Content::Watch(Box::new(stream)), warnings: Vec::new() })
    }
}

/// Upstream's ValidateListOptions, for what both doors can ask.
fn validate_versions(options: &super::Options, watch: bool) -> Result<(), StatusError> {
    let refuse = |field: &str, kind: &str, detail: &str| {
        let message = format!("{field}: {kind}: {detail}");
        let error = StatusError::invalid("meta.k8s.io", "ListOptions", "", &[]);
        let mut status = error.into_status();
        status.message = format!("ListOptions.meta.k8s.io \"\" is invalid: {message}");
        Err(StatusError::from(status))
    };
    let matching = options.resource_version_match.as_str();
    if watch && options.send_initial_events.is_some() {
        if matching.is_empty() {
            let detail = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            return refuse("resourceVersionMatch", "Forbidden", detail);
        }
        if matching != "NotOlderThan" {
            let detail = format!("{matching:?}: supported values: \"NotOlderThan\"");
            return refuse("resourceVersionMatch", "Unsupported value", &detail);
        }
        return Ok(());
    }
    if options.send_initial_events.is_some() {
        return refuse("sendInitialEvents", "Forbidden", "sendInitialEvents is forbidden for list");
    }
    if matching.is_empty() {
        return Ok(());
    }
    if watch {
        let detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return refuse("resourceVersionMatch", "Forbidden", detail);
    }
    if options.resource_version.is_empty() {
        let detail = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        return refuse("resourceVersionMatch", "Forbidden", detail);
    }
    if !options.continue_token.is_empty() {
        return refuse(
            "resourceVersionMatch",
            "Forbidden",
            "resourceVersionMatch is forbidden when continue is provided",
        );
    }
    if !matches!(matching, "Exact" | "NotOlderThan") {
        let detail = format!("{matching:?}: supported values: \"Exact\", \"NotOlderThan\"");
        return refuse("resourceVersionMatch", "Unsupported value", &detail);
    }
    if matching == "Exact" && options.resource_version == "0" {
        let detail = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        return refuse("resourceVersionMatch", "Forbidden", detail);
    }
    Ok(())
}
