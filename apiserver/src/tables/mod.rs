//! Server-side tables: what `kubectl get` shows of a kind, computed here from its columns.
//!
//! A kind's columns are data (`registry::Column`). Name comes first unless the kind places it itself, and a kind without
//! columns shows Name and Age.

pub mod age;
pub mod cells;
mod conditions;
mod json_path;
mod render;

pub use age::human_duration;
pub use render::{Meta, render};
