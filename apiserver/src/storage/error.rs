//! How a store call fails, and what that means for a second attempt and for the client.

use keelson_objects::status::StatusError;
use tonic::Code;

#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    #[error("no store endpoint can be reached: {0}")]
    Unreachable(String),
    /// The connection broke while the call was under way.
    #[error("the store's answer was lost: {0}")]
    Lost(String),
    #[error("the store answered {code:?}: {message}")]
    Refused { code: Code, message: String },
    #[error("the store did not answer in time")]
    TimedOut,
    #[error("unexpected answer from the store: {0}")]
    Protocol(&'static str),
    #[error("the store client has stopped")]
    Stopped,
}

impl Error {
    pub(crate) fn from_status(status: &tonic::Status) -> Error {
        Error::from_code(status.code(), status.message().to_owned())
    }

    /// A transport failure reaches us as Unavailable, Unknown or Cancelled with the transport's words.
    pub(crate) fn from_code(code: Code, message: String) -> Error {
        let from_store = message.starts_with("etcdserver:");
        match code {
            Code::Unavailable | Code::Unknown | Code::Cancelled if !from_store => Error::Lost(message),
            _ => Error::Refused { code, message },
        }
    }

    pub fn is_transient(&self) -> bool {
        match self {
            Error::Unreachable(_) | Error::Lost(_) => true,
            Error::Refused { code, .. } => *code == Code::Unavailable,
            Error::TimedOut | Error::Protocol(_) | Error::Stopped => false,
        }
    }

    pub fn may_have_committed(&self) -> bool {
        !matches!(self, Error::Unreachable(_))
    }

    /// The revision asked for is gone.
    pub fn is_compacted(&self) -> bool {
        matches!(self, Error::Refused { code: Code::OutOfRange, message } if message.contains("compacted"))
    }
}

impl From<Error> for StatusError {
    fn from(error: Error) -> StatusError {
        match &error {
            Error::TimedOut => StatusError::timeout("request did not complete within the allotted timeout", 1),
            Error::Unreachable(_) | Error::Lost(_) => StatusError::service_unavailable(error.to_string()),
            // Upstream hands etcd's words through: "etcdserver: mvcc: database space exceeded".
            Error::Refused { message, .. } => StatusError::internal(message),
            Error::Protocol(_) | Error::Stopped => StatusError::internal(error),
        }
    }
}
