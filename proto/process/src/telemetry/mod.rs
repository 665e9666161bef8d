//! Logs on standard error, and traces: to files on this machine, and to an OTLP collector where one is configured.
//!
//! Only spans of the target [`TRACE`] become traces ([`traced!`](crate::traced)); whether a span is made at all is
//! decided where the work begins, so an untraced request costs nothing here.

mod context;
mod options;
mod span_file;
mod start;

pub use context::{current_traceparent, set_parent, traceparent_of};
pub use options::{LogFormat, Options};
pub use span_file::{SpanRecord, read_spans};
pub use start::{Error, Telemetry, start};

/// The target of spans that are part of a trace.
pub const TRACE: &str = "keelson::trace";

/// A span that is part of a trace: `traced!("schedule", pod = name)`. Fields become the span's attributes.
#[macro_export]
macro_rules! traced {
    ($name:expr $(, $($fields:tt)*)?) => {
        $crate::telemetry::__span!(target: "keelson::trace", $name $(, $($fields)*)?)
    };
}

#[doc(hidden)]
pub use tracing::info_span as __span;
