//! The API server end to end, in this process, over a real store.

mod grpc;
mod harness;
mod kinds;
mod kubectl;
mod rest;
