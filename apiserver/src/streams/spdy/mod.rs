//! SPDY/3.1 as far as port-forward needs it: kubectl tunnels its frames through a WebSocket (KEP-4006).
//!
//! Only framing and header compression live here; what the streams mean is `portforward`'s. Clients send no window
//! updates and expect none (the Go library behind them has no flow control); the tunnel's own back-pressure holds.

mod dictionary;
mod frame;
mod headers;

pub use frame::{Frame, Reader, data, fin, pong, reply, reset};

/// What makes a connection unusable.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("a frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("a {0} frame is too short")]
    TooShort(&'static str),
    #[error("version {0} of the protocol is not spoken here")]
    Version(u16),
    #[error("headers cannot be decompressed: {0}")]
    Headers(&'static str),
}
