//! What a call can answer other than its result.

use keelson_objects::status::{Reason, StatusError};

/// A failed call. [`Error::is_retryable`] says whether the same call may succeed later.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The API server answered with a Status.
    #[error("{0}")]
    Api(StatusError),
    /// The API server was not reached, or the answer was lost: a write may have happened.
    #[error("cannot reach the API server at {endpoint}: {message}")]
    Transport { endpoint: String, message: String },
    /// The answer is not what was asked for.
    #[error("cannot read {what} from the API server's answer: {message}")]
    Decode { what: &'static str, message: String },
    /// The object cannot be written as JSON.
    #[error("cannot encode {what}: {message}")]
    Encode { what: &'static str, message: String },
    /// The client's own configuration is not usable.
    #[error("cannot configure the client: {0}")]
    Configuration(String),
}

impl Error {
    pub fn status(&self) -> Option<&StatusError> {
        match self {
            Error::Api(status) => Some(status),
            _ => None,
        }
    }

    fn has_reason(&self, reason: Reason) -> bool {
        self.status().is_some_and(|status| status.reason() == reason)
    }

    pub fn is_not_found(&self) -> bool {
        self.has_reason(Reason::NotFound)
    }

    pub fn is_already_exists(&self) -> bool {
        self.has_reason(Reason::AlreadyExists)
    }

    pub fn is_conflict(&self) -> bool {
        self.has_reason(Reason::Conflict)
    }

    pub fn is_invalid(&self) -> bool {
        self.has_reason(Reason::Invalid)
    }

    pub fn is_forbidden(&self) -> bool {
        self.has_reason(Reason::Forbidden)
    }

    /// The asked-for history is gone: start from the present state.
    pub fn is_expired(&self) -> bool {
        self.has_reason(Reason::Expired) || self.has_reason(Reason::Gone)
    }

    /// The namespace is being deleted: nothing new can be made in it.
    pub fn is_namespace_terminating(&self) -> bool {
        self.status().is_some_and(|error| {
            let details = error.status().details.as_ref();
            details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
        })
    }

    pub fn is_transport(&self) -> bool {
        matches!(self, Error::Transport { .. })
    }

    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Transport { .. } => true,
            Error::Api(status) => matches!(status.code(), 409 | 429 | 500 | 503 | 504),
            _ => false,
        }
    }
}

impl From<StatusError> for Error {
    fn from(status: StatusError) -> Error {
        Error::Api(status)
    }
}
