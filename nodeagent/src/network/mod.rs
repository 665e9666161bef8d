//! The pod network, through CNI plugins.
#[derive(Debug, thiserror::Error)]
pub enum Error { #[error("{0}")] Plugin(String) }
