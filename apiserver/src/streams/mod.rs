//! What a client streams with a container: logs, exec, attach and port-forward, all relayed to the agent of the pod's
//! node over its gRPC door.
//!
//! Nothing is buffered beyond a few messages in each direction: a slow side slows the other down.

mod connect;
mod container;
mod log;
mod portforward;
mod query;
mod remote;
mod session;
mod spdy;
mod target;
mod websocket;

pub use log::Log;
pub use portforward::PortForward;
pub use remote::{Attach, Exec};

/// Messages under way in one direction of one stream.
const IN_FLIGHT: usize = 16;
