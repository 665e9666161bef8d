//! The three patches of Kubernetes: JSON patch (RFC 6902), JSON merge patch (RFC 7396) and strategic merge patch.

mod json_patch;
mod merge_patch;
mod rules;
mod strategic;

pub use json_patch::json_patch;
pub use merge_patch::merge_patch;
pub use strategic::{FieldRule, ListStrategy, PatchRules, strategic_merge};

/// The most operations that one JSON patch may have.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;

/// Why a patch could not be applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The patch itself makes no sense (400).
    #[error("{0}")]
    Malformed(String),
    /// More operations than a JSON patch may have (413).
    #[error("The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {0}")]
    TooManyOperations(usize),
    /// The object is not what the patch expects of it (422).
    #[error("{0}")]
    Inapplicable(String),
    /// The kind has no patch rules: custom resources have none (415).
    #[error("strategic merge patch format is not supported")]
    Unsupported,
}
