//! The options of calls, under the API's names.

use std::time::Duration;

use serde_json::{Value, json};

/// Which objects to list, and how fresh.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// Empty asks for the latest state.
    pub resource_version: String,
    /// Zero means all.
    pub limit: i64,
    pub continue_token: String,
}

impl ListOptions {
    pub fn labels(selector: impl Into<String>) -> ListOptions {
        ListOptions { label_selector: selector.into(), ..ListOptions::default() }
    }

    pub fn fields(selector: impl Into<String>) -> ListOptions {
        ListOptions { field_selector: selector.into(), ..ListOptions::default() }
    }
}

/// Which changes to watch, and from where.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    pub label_selector: String,
    pub field_selector: String,
    /// Changes after this version; empty with `send_initial_events` starts from the present state.
    pub resource_version: String,
    /// The present state first, ended by a bookmark (KEP-3157).
    pub send_initial_events: bool,
    pub timeout: Option<Duration>,
}

/// A patch in one of the API's forms.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 7396.
    Merge(Value),
    /// Merge by the kind's list keys.
    Strategic(Value),
    /// RFC 6902: an array of operations.
    Json(Value),
}

impl Patch {
    pub(crate) fn media_type(&self) -> &'static str {
        match self {
            Patch::Merge(_) => "application/merge-patch+json",
            Patch::Strategic(_) => "application/strategic-merge-patch+json",
            Patch::Json(_) => "application/json-patch+json",
        }
    }

    pub(crate) fn body(&self) -> &Value {
        match self {
            Patch::Merge(body) | Patch::Strategic(body) | Patch::Json(body) => body,
        }
    }
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

impl Propagation {
    fn name(self) -> &'static str {
        match self {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        }
    }
}

/// How to delete, and only if what.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    /// Only this very object, not a later one of its name.
    pub uid: Option<String>,
    /// Only in this version.
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Only the object with this uid.
    pub fn of_uid(uid: impl Into<String>) -> DeleteOptions {
        DeleteOptions { uid: Some(uid.into()), ..DeleteOptions::default() }
    }

    #[must_use]
    pub fn propagation(mut self, propagation: Propagation) -> DeleteOptions {
        self.propagation = Some(propagation);
        self
    }

    #[must_use]
    pub fn grace_period_seconds(mut self, seconds: i64) -> DeleteOptions {
        self.grace_period_seconds = Some(seconds);
        self
    }

    pub(crate) fn body(&self) -> Value {
        let mut body = json!({"kind": "DeleteOptions", "apiVersion": "v1"});
        if let Some(seconds) = self.grace_period_seconds {
            body["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(propagation) = self.propagation {
            body["propagationPolicy"] = propagation.name().into();
        }
        if let Some(uid) = &self.uid {
            body["preconditions"]["uid"] = uid.as_str().into();
        }
        if let Some(version) = &self.resource_version {
            body["preconditions"]["resourceVersion"] = version.as_str().into();
        }
        body
    }
}
