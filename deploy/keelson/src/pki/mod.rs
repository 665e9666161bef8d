//! The cluster's certificate authority and the identities that it signs.

mod authority;
mod identities;

pub use authority::{Authority, Subject};
pub use identities::ensure;
