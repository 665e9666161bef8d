//! Structural schemas: what every kind, built in or custom, looks like, held once and read by all.
//!
//! [`builtin`] is the schema of Kubernetes v1.36's own kinds, read from the fact tables in `facts/`. Decoding
//! (type errors, unknown fields, pruning), static defaults, strategic merge, the protobuf transcoder and the
//! published OpenAPI all walk it through the cheap handle [`SchemaRef`].
//!
//! The module promises: small memory (about a megabyte for all built-in kinds, no descriptions in it), no work
//! per request beyond the fields that the request has, and upstream's wording in every error.

mod builder;
mod decode;
mod default;
mod facts;
mod go;
mod json;
mod model;
mod normalize;
mod openapi_source;
mod path;
mod reference;
mod yaml;

use std::sync::LazyLock;

pub use self::builder::BuildError;
pub use self::decode::{DecodeError, FieldValidation, decode, decode_with};
pub use self::default::default;
pub use self::json::{Limits, ParseError, Parsed, parse_json};
pub use self::model::{Definitions, ListType, PatchStrategy, Shape};
pub(crate) use self::model::{Field, FieldFlags, NodeId, TypeId};
pub(crate) use self::normalize::{complete, is_omitted};
pub use self::reference::{OwnedSchema, SchemaRef};
pub use self::yaml::parse_yaml;

/// The schemas of all built-in kinds. Read from the fact tables on first use (a few milliseconds), then shared.
pub fn builtin() -> &'static Definitions {
    static BUILTIN: LazyLock<Definitions> = LazyLock::new(|| {
        facts::read(include_str!(concat!(env!("OUT_DIR"), "/facts.txt")), include_str!("../../facts/defaults.table"))
            .expect("the checked-in fact tables are well-formed; a unit test reads them")
    });
    &BUILTIN
}
