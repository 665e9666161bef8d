//! The two doors before the one pipeline: REST for kubectl and every client library, gRPC for Keelson's own components.
//!
//! A door turns its protocol into a `pipeline::Request` and an `Answer` back into its protocol. Encodings, discovery and
//! published schemas belong to the REST door; nothing here knows a kind.

mod accept;
mod body;
mod discovery;
mod encode;
pub mod grpc;
mod openapi;
mod path;
mod query;
mod respond;
pub mod rest;
mod views;
mod watching;
