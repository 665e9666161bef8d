//! `v1.Status`: how every failure reaches a client, with upstream's reasons, codes and messages.
//!
//! [`StatusError`] is one pointer wide, so that a `Result` carrying it stays small.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::field::{self, FieldError, quote};

/// The detail of a write that lost against another: what follows "Operation cannot be fulfilled on ...: ".
pub const OPTIMISTIC_LOCK: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// The machine-readable reason of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
pub enum Reason {
    #[default]
    #[serde(rename = "")]
    Unknown,
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    StoreReadError,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
    #[serde(other)]
    Other,
}

/// One cause of a failure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What a failure is about. `kind` is the resource, as upstream has it, except for invalid objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: i32,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// `v1.Status`, of success or of failure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    #[serde(default = "status_kind")]
    pub kind: String,
    #[serde(rename = "apiVersion", default = "status_version")]
    pub api_version: String,
    #[serde(default = "empty_object")]
    pub metadata: Value,
    /// `Success` or `Failure`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "is_unknown")]
    pub reason: Reason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    #[serde(default)]
    pub code: u16,
}

fn is_unknown(reason: &Reason) -> bool {
    *reason == Reason::Unknown
}

fn status_kind() -> String {
    "Status".to_owned()
}

fn status_version() -> String {
    "v1".to_owned()
}

fn empty_object() -> Value {
    json!({})
}

impl Status {
    fn failure(code: u16, reason: Reason, message: impl Into<String>, details: Option<Details>) -> Status {
        Status {
            kind: status_kind(),
            api_version: status_version(),
            metadata: empty_object(),
            status: "Failure".to_owned(),
            message: message.into(),
            reason,
            details,
            code,
        }
    }

    /// What a delete answers when the object is gone: its group, resource, name and uid.
    pub fn deleted(resource: &GroupResource<'_>, name: &str, uid: &str) -> Status {
        let details = Details { uid: uid.to_owned(), ..details_of(resource, name) };
        Status { status: "Success".to_owned(), ..Status::failure(200, Reason::Unknown, "", Some(details)) }
            .without_code()
    }

    /// A plain success.
    pub fn success() -> Status {
        Status { status: "Success".to_owned(), ..Status::failure(200, Reason::Unknown, "", None) }
    }

    fn without_code(mut self) -> Status {
        self.code = 0;
        self
    }

    pub fn to_value(&self) -> Value {
        let mut value = serde_json::to_value(self).expect("a Status has only string keys");
        if self.code == 0
            && let Some(object) = value.as_object_mut()
        {
            object.shift_remove("code");
        }
        value
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }
}

/// A resource in a group, as messages name it: `pods`, `deployments.apps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupResource<'a> {
    pub group: &'a str,
    pub resource: &'a str,
}

impl<'a> GroupResource<'a> {
    pub fn new(group: &'a str, resource: &'a str) -> GroupResource<'a> {
        GroupResource { group, resource }
    }
}

impl fmt::Display for GroupResource<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            "" => formatter.write_str(self.resource),
            group => write!(formatter, "{}.{}", self.resource, group),
        }
    }
}

fn details_of(resource: &GroupResource<'_>, name: &str) -> Details {
    Details {
        name: name.to_owned(),
        group: resource.group.to_owned(),
        kind: resource.resource.to_owned(),
        ..Details::default()
    }
}

/// A failed request.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusError(Box<Status>);

impl From<Status> for StatusError {
    fn from(status: Status) -> StatusError {
        StatusError(Box::new(status))
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.message)
    }
}

impl std::error::Error for StatusError {}

impl StatusError {
    fn new(code: u16, reason: Reason, message: impl Into<String>, details: Option<Details>) -> StatusError {
        Status::failure(code, reason, message, details).into()
    }

    pub fn status(&self) -> &Status {
        &self.0
    }

    pub fn into_status(self) -> Status {
        *self.0
    }

    pub fn code(&self) -> u16 {
        self.0.code
    }

    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    pub fn retry_after_seconds(&self) -> Option<u32> {
        let seconds = self.0.details.as_ref()?.retry_after_seconds;
        u32::try_from(seconds).ok().filter(|seconds| *seconds > 0)
    }

    pub fn not_found(resource: &GroupResource<'_>, name: &str) -> StatusError {
        let message = format!("{resource} {} not found", quote(name));
        StatusError::new(404, Reason::NotFound, message, Some(details_of(resource, name)))
    }

    /// A path that nothing serves.
    pub fn no_such_resource() -> StatusError {
        StatusError::new(
            404,
            Reason::NotFound,
            "the server could not find the requested resource",
            Some(Details::default()),
        )
    }

    pub fn already_exists(resource: &GroupResource<'_>, name: &str) -> StatusError {
        let message = format!("{resource} {} already exists", quote(name));
        StatusError::new(409, Reason::AlreadyExists, message, Some(details_of(resource, name)))
    }

    /// `generateName` met a name that exists; the client may simply try again.
    pub fn generate_name_conflict(resource: &GroupResource<'_>, name: &str, retry_after_seconds: i32) -> StatusError {
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            quote(name)
        );
        let details = Details { retry_after_seconds, ..details_of(resource, name) };
        StatusError::new(409, Reason::AlreadyExists, message, Some(details))
    }

    /// An empty text means upstream's "Unauthorized".
    pub fn unauthorized(message: &str) -> StatusError {
        let message = if message.is_empty() { "Unauthorized" } else { message };
        StatusError::new(401, Reason::Unauthorized, message, None)
    }

    /// `why` reads like `User "x" cannot get resource "pods" in API group "" in the namespace "y"`.
    pub fn forbidden(resource: &GroupResource<'_>, name: &str, why: impl fmt::Display) -> StatusError {
        let message = match (resource.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} {} is forbidden: {why}", quote(name)),
        };
        StatusError::new(403, Reason::Forbidden, message, Some(details_of(resource, name)))
    }

    pub fn conflict(resource: &GroupResource<'_>, name: &str, why: impl fmt::Display) -> StatusError {
        let message = format!("Operation cannot be fulfilled on {resource} {}: {why}", quote(name));
        StatusError::new(409, Reason::Conflict, message, Some(details_of(resource, name)))
    }

    /// A write against a resourceVersion that is no longer the latest.
    pub fn stale(resource: &GroupResource<'_>, name: &str) -> StatusError {
        StatusError::conflict(resource, name, OPTIMISTIC_LOCK)
    }

    pub fn gone(message: impl Into<String>) -> StatusError {
        StatusError::new(410, Reason::Gone, message, None)
    }

    /// A resourceVersion or a continue token that history no longer reaches.
    pub fn expired(message: impl Into<String>) -> StatusError {
        StatusError::new(410, Reason::Expired, message, None)
    }

    /// `kind` in `group` (`Deployment`, `apps`) breaks its rules.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> StatusError {
        let qualified = match group {
            "" => kind.to_owned(),
            group => format!("{kind}.{group}"),
        };
        let subject = format!("{qualified} {} is invalid", quote(name));
        let message = match errors.is_empty() {
            true => subject,
            false => format!("{subject}: {}", field::aggregate(errors)),
        };
        let causes = errors
            .iter()
            .map(|error| Cause {
                reason: error.kind.reason().to_owned(),
                message: error.body(),
                field: error.field.clone(),
            })
            .collect();
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes,
            ..Details::default()
        };
        StatusError::new(422, Reason::Invalid, message, Some(details))
    }

    pub fn bad_request(message: impl Into<String>) -> StatusError {
        StatusError::new(400, Reason::BadRequest, message, None)
    }

    pub fn method_not_supported(resource: &GroupResource<'_>, action: &str) -> StatusError {
        let message = format!("{action} is not supported on resources of kind {}", quote(&resource.to_string()));
        StatusError::new(405, Reason::MethodNotAllowed, message, Some(details_of(resource, "")))
    }

    /// A method that no route takes, with the words that upstream's generic answer has.
    pub fn method_not_allowed() -> StatusError {
        StatusError::new(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
            Some(Details::default()),
        )
    }

    pub fn not_acceptable(accepted: &[&str]) -> StatusError {
        let message = format!("only the following media types are accepted: {}", accepted.join(", "));
        StatusError::new(406, Reason::NotAcceptable, message, None)
    }

    pub fn unsupported_media_type(accepted: &[&str]) -> StatusError {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            accepted.join(", ")
        );
        StatusError::new(415, Reason::UnsupportedMediaType, message, None)
    }

    /// `why` reads like `limit is 3145728`.
    pub fn request_entity_too_large(why: impl fmt::Display) -> StatusError {
        StatusError::new(413, Reason::RequestEntityTooLarge, format!("Request entity too large: {why}"), None)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> StatusError {
        let details = Details { retry_after_seconds, ..Details::default() };
        StatusError::new(429, Reason::TooManyRequests, message, Some(details))
    }

    pub fn service_unavailable(message: impl Into<String>) -> StatusError {
        StatusError::new(503, Reason::ServiceUnavailable, message, None)
    }

    pub fn server_timeout(resource: &GroupResource<'_>, operation: &str, retry_after_seconds: i32) -> StatusError {
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        let details = Details { retry_after_seconds, ..details_of(resource, operation) };
        StatusError::new(500, Reason::ServerTimeout, message, Some(details))
    }

    pub fn timeout(message: impl fmt::Display, retry_after_seconds: i32) -> StatusError {
        let details = Details { retry_after_seconds, ..Details::default() };
        StatusError::new(504, Reason::Timeout, format!("Timeout: {message}"), Some(details))
    }

    /// The request asks for a resourceVersion that is not there yet.
    pub fn too_large_resource_version(asked: u64, present: u64, retry_after_seconds: i32) -> StatusError {
        let message = format!("Too large resource version: {asked}, current: {present}");
        let cause = Cause {
            reason: "ResourceVersionTooLarge".to_owned(),
            message: "Too large resource version".to_owned(),
            field: String::new(),
        };
        let details = Details { causes: vec![cause], retry_after_seconds, ..Details::default() };
        StatusError::new(504, Reason::Timeout, format!("Timeout: {message}"), Some(details))
    }

    pub fn internal(error: impl fmt::Display) -> StatusError {
        let text = error.to_string();
        let message = format!("Internal error occurred: {text}");
        let cause = Cause { message: text, ..Cause::default() };
        let details = Details { causes: vec![cause], ..Details::default() };
        StatusError::new(500, Reason::InternalError, message, Some(details))
    }

    /// Adds a cause, as an eviction or a precondition does.
    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> StatusError {
        let cause = Cause { reason: reason.to_owned(), message: message.into(), field: field.to_owned() };
        self.0.details.get_or_insert_with(Details::default).causes.push(cause);
        self
    }

    pub fn is_not_found(&self) -> bool {
        self.reason() == Reason::NotFound
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason() == Reason::AlreadyExists
    }

    pub fn is_conflict(&self) -> bool {
        self.reason() == Reason::Conflict
    }

    pub fn is_expired(&self) -> bool {
        matches!(self.reason(), Reason::Gone | Reason::Expired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    const DEPLOYMENTS: GroupResource<'static> = GroupResource { group: "apps", resource: "deployments" };
    const PODS: GroupResource<'static> = GroupResource { group: "", resource: "pods" };

    #[test]
    fn messages_are_upstreams() {
        let replicas = Path::new("spec").child("replicas");
        let errors = [FieldError::invalid(&replicas, -1, "must be greater than or equal to 0")];
        let table = [
            (StatusError::not_found(&PODS, "x"), 404, "pods \"x\" not found"),
            (StatusError::not_found(&DEPLOYMENTS, "x"), 404, "deployments.apps \"x\" not found"),
            (StatusError::already_exists(&PODS, "x"), 409, "pods \"x\" already exists"),
            (
                StatusError::stale(&PODS, "x"),
                409,
                "Operation cannot be fulfilled on pods \"x\": the object has been modified; please apply your changes to the latest version and try again",
            ),
            (
                StatusError::invalid("apps", "Deployment", "x", &errors),
                422,
                "Deployment.apps \"x\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            ),
            (StatusError::forbidden(&PODS, "x", "no"), 403, "pods \"x\" is forbidden: no"),
            (
                StatusError::method_not_supported(&PODS, "patch"),
                405,
                "patch is not supported on resources of kind \"pods\"",
            ),
            (StatusError::internal("boom"), 500, "Internal error occurred: boom"),
        ];
        for (error, code, message) in table {
            assert_eq!((error.code(), error.to_string().as_str()), (code, message));
        }
    }

    #[test]
    fn a_status_reads_back_as_it_was_written() {
        let error = StatusError::not_found(&DEPLOYMENTS, "x");
        let bytes = error.status().to_bytes();
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"deployments.apps \"x\" not found","reason":"NotFound","details":{"name":"x","group":"apps","kind":"deployments"},"code":404}"#
        );
        let read: Status = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(&read, error.status());
    }

    #[test]
    fn an_unknown_reason_is_kept_as_other() {
        let read: Status = serde_json::from_str(r#"{"status":"Failure","reason":"Brewing","code":418}"#).unwrap();
        assert_eq!(read.reason, Reason::Other);
    }
}
