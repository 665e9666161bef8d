//! Liveness, readiness and startup probes: run by a task for each, judged by thresholds, reported to the pod's actor.

mod check;
mod exec;
mod grpc;
pub mod http;
mod redirect;
mod tcp;
pub mod thresholds;
pub mod worker;

pub use check::port;

pub use worker::{Kind, Report};
