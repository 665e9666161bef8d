//! What every Keelson process is made of.
//!
//! A component is a library with `run(options, process)` and a `main` of a few lines. This crate is the frame around
//! it: the actor system and its arbiters, supervision that survives panics, mutual TLS and identities, health and
//! metrics, logs and traces, configuration files, and an orderly end.

pub mod allocator;
pub mod configuration;
pub mod descriptors;
mod eager;
mod file_stream;
pub mod health;
pub mod identity;
pub mod metrics;
mod process;
mod shutdown;
pub mod supervision;
pub mod telemetry;

pub use eager::Eagerness;
pub use file_stream::FileStream;
pub use process::{Process, main};
pub use shutdown::Shutdown;
pub use telemetry::Options as TelemetryOptions;

/// The error of a component's `run`: printed once, with its causes, before the process ends non-zero.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The version that every Keelson binary reports.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
