//! The API server: Kubernetes' API over one request pipeline with two doors, REST and gRPC.
//!
//! - [`registry`]: what a kind is, as data; [`kinds`] lists them.
//! - [`storage`]: the etcd v3 client; [`cache`]: the watch cache that serves every read.
//! - [`pipeline`]: authenticate, authorize, decode, admit, default, validate, store, answer.
//! - [`doors`]: REST on actix-web and gRPC on tonic, in front of the one pipeline.

pub mod admission;
pub mod authentication;
pub mod authorization;
mod bootstrap;
pub mod cache;
pub mod cluster;
mod courtesy;
pub mod doors;
pub mod kinds;
pub mod metrics;
mod options;
pub mod pipeline;
pub mod registry;
mod server;
pub mod settings;
pub mod storage;
pub mod streams;
pub mod subresources;
pub mod tables;

pub use options::Options;
pub use server::{Addresses, Error, run, run_with};
