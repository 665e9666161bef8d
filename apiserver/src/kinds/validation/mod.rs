//! The ground that all kinds' rules stand on: where (paths), what (errors), and the rules that several kinds share.

mod errors;
pub mod meta;
pub mod names;
mod path;
pub mod ports;
pub mod quantities;
pub mod selectors;

pub use errors::Errors;
pub use path::Path;
pub use quantities::{non_negative_quantity, quantity_of, resource_quantity};

pub use super::fields::same;
