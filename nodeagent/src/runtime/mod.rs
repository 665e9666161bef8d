//! Containers on this node: images, sandboxes, containers, exec and logs, through containerd.
//!
//! [`Runtime`] is a cheap handle. It promises that
//! - every call is idempotent or says [`Error::NotFound`], so a caller killed half way can do it again;
//! - what it reports after a restart of the agent or of containerd is what is really there: identity lives in the
//!   labels of containerd's containers, exits are written to containerd before the task is let go;
//! - containers run and log on while the agent is dead.
//!
//! It decides nothing about pods: no pull policy, no restart policy, no order of containers.

mod error;
mod options;
mod request;
mod state;

pub use error::Error;
pub use options::{Options, Registries};
pub use request::*;
pub use state::*;

use std::sync::Arc;

/// A cheap handle to the node's containers; see the module's documentation.
#[derive(Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

struct Inner {
    options: Options,
}

mod draft;
mod exec;
pub use exec::EventReceiver;
