//! The registry: every kind that this server serves, as data.
//!
//! A [`Kind`] says what a kind is called, which verbs, subresources and columns it has, and points to its
//! [`Strategy`]: the small functions that upstream calls defaults, `PrepareForCreate`, `ValidateUpdate` and so on.
//! The pipeline has one generic handler for each verb and asks the registry for everything that differs.
//! Built-in kinds are listed by `kinds::all()`; a custom kind is one more entry.

mod column;
mod kind;
mod strategy;
mod subresource;
mod table;
mod verb;

pub use column::{Cell, Column};
pub use kind::{Kind, Scope, SelectableField, Text};
pub use strategy::{Context, DeleteOptions, Plain, Strategy, Termination};
pub use subresource::{Action, Connect, Exchange, ScalePaths, Subresource, Variant};
pub use table::{IncludeObject, Registry};
pub use verb::Verb;
