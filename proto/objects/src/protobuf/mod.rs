//! Kubernetes' protobuf encoding, for all built-in kinds by one transcoder over their schemas.
//!
//! An object travels as the four bytes `k8s\0` and a `runtime.Unknown` message that names its type and holds the
//! object's own message. [`decode`] makes of it the JSON value that the rest of the server works with, in the shape
//! that Go would write; [`encode`] goes the other way and writes what upstream's generated code writes, field for
//! field. Custom resources have no protobuf form: ask [`can_encode`] first.

mod envelope;
mod error;
mod read;
pub(crate) mod wire;
mod write;

pub use self::envelope::{
    MEDIA_TYPE, can_encode, decode, decode_as, encode, encode_list, encode_message, encode_watch_event, wrap,
};
pub use self::error::Error;
