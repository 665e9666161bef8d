//! Images: pulled from registries or found in containerd's store, unpacked, and understood.

mod content;
mod pause;
mod platform;
mod pull;
mod reference;
mod registry;
mod store;
mod unpack;

pub use pause::REFERENCE as PAUSE;
#[cfg(test)]
pub use platform::Execution;
pub use store::{Images, Unpacked};
