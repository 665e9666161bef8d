//! Selectors: by [`label`] and by [`field`].

pub mod field;
pub mod label;
