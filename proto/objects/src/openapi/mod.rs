//! The published OpenAPI: v3 (an index and a document for each group version) and v2 (one document, as JSON and in
//! the protobuf form that kubectl asks for), made from the schemas for a given list of served resources.
//!
//! Documents are made when first asked for, one definition at a time into a compressed buffer, and kept compressed.
//! What a client caches by (the `hash` of the v3 index, the ETag) is a digest of what the documents are made from.

mod definitions;
mod descriptions;
mod document;
mod gnostic;
mod operations;
mod parameters;
mod resource;

pub use self::document::{Document, Documents, V2_PROTOBUF, V2_PROTOBUF_ANSWER};
pub use self::resource::{Resource, Subresource};
