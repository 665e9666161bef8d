//! What can be wrong with a message.

/// A message that cannot be read, or a value that cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("provided data does not appear to be a protobuf message, expected prefix {:?}", super::wire::MAGIC)]
    NoMagic,
    #[error("unexpected EOF")]
    UnexpectedEnd,
    #[error("proto: illegal wireType {0}")]
    WireType(u8),
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongWireType { wire: u8, field: String },
    #[error("proto: integer overflow")]
    Overflow,
    #[error("proto: exceeded max depth")]
    TooDeep,
    #[error("proto: message has more than {limit} parts")]
    TooManyParts { limit: usize },
    /// In upstream's words.
    #[error("no kind {kind:?} is registered for version {version:?}")]
    NoKind { version: String, kind: String },
    #[error("{kind} in version {version:?} has no protobuf encoding")]
    NotEncodable { version: String, kind: String },
    #[error("contentEncoding {0:?} is not supported")]
    ContentEncoding(String),
    #[error("field {field}: {problem}")]
    Field { field: String, problem: String },
}
