//! Query parameters of the API.

use std::borrow::Cow;

use keelson_objects::status::StatusError;

use super::path::decode;
use crate::pipeline::Options;

/// What the query says beside the API's options.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub options: Options,
    pub watch: bool,
    pub pretty: bool,
    pub include_object: String,
}

/// The pairs of a query, decoded. Bounded by the server's limit of a request line.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (form_decode(name), form_decode(value))
    })
}

fn form_decode(text: &str) -> Cow<'_, str> {
    if text.contains('+') { Cow::Owned(decode(&text.replace('+', " ")).into_owned()) } else { decode(text) }
}

pub(super) fn parse(text: &str) -> Result<Query, StatusError> {
    let mut query = Query::default();
    let options = &mut query.options;
    for (name, value) in pairs(text) {
        match name.as_ref() {
            "labelSelector" => options.label_selector = value.into_owned(),
            "fieldSelector" => options.field_selector = value.into_owned(),
            "resourceVersion" => options.resource_version = value.into_owned(),
            "resourceVersionMatch" => options.resource_version_match = value.into_owned(),
            "limit" => options.limit = integer(&value)?,
            "continue" => options.continue_token = value.into_owned(),
            "sendInitialEvents" => options.send_initial_events = Some(flag(&value)),
            "allowWatchBookmarks" => options.allow_watch_bookmarks = flag(&value),
            "timeoutSeconds" => options.timeout_seconds = integer(&value)?,
            "dryRun" => options.dry_run = dry_run(&value)?,
            "fieldManager" => options.field_manager = value.into_owned(),
            "force" => options.force = flag(&value),
            "fieldValidation" => options.field_validation = value.into_owned(),
            "gracePeriodSeconds" => options.grace_period_seconds = Some(integer(&value)?),
            "propagationPolicy" => options.propagation_policy = Some(value.into_owned()),
            "orphanDependents" => options.orphan_dependents = Some(flag(&value)),
            "watch" => query.watch = flag(&value),
            "pretty" => query.pretty = flag(&value),
            "includeObject" => query.include_object = value.into_owned(),
            _ => {}
        }
    }
    Ok(query)
}

/// As upstream converts: anything but "false" and "0" is true, also nothing.
fn flag(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "false" | "0")
}

fn integer(value: &str) -> Result<i64, StatusError> {
    value.parse().map_err(|_| StatusError::bad_request(format!("strconv.ParseInt: parsing {value:?}: invalid syntax")))
}

fn dry_run(value: &str) -> Result<bool, StatusError> {
    match value {
        "All" => Ok(true),
        "" => Ok(false),
        other => {
            let mut status = StatusError::invalid("meta.k8s.io", "CreateOptions", "", &[]).into_status();
            status.message = format!(
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: {other:?}: supported values: \"All\""
            );
            Err(status.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let query = parse("labelSelector=a%3Db%2Cc+in+%28d%29&limit=500&watch=1&pretty=false&dryRun=All&x=y").unwrap();
        assert_eq!(query.options.label_selector, "a=b,c in (d)");
        assert_eq!((query.options.limit, query.watch, query.pretty, query.options.dry_run), (500, true, false, true));
        assert_eq!(parse("limit=x").unwrap_err().code(), 400);
        assert_eq!(parse("dryRun=x").unwrap_err().code(), 422);
    }
}
