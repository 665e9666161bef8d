//! The trace that an object belongs to: its annotation says which, and whoever acts on the object continues it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use keelson_objects::meta::TRACEPARENT;
use keelson_process::telemetry;
use tonic::metadata::MetadataMap;
use tracing::Span;

/// The metadata key under which trace context travels in gRPC.
const KEY: &str = "traceparent";

/// The trace context that an object carries.
pub fn traceparent(meta: &ObjectMeta) -> Option<&str> {
    meta.annotations.as_ref()?.get(TRACEPARENT).map(String::as_str)
}

/// Makes `span`, not yet entered, a part of the object's trace. `make` is called only if the object has one, so that
/// untraced work costs nothing: `trace::continued(&pod.metadata, || keelson_process::traced!("schedule"))`.
pub fn continued(meta: &ObjectMeta, make: impl FnOnce() -> Span) -> Span {
    let Some(parent) = traceparent(meta) else { return Span::none() };
    let span = make();
    telemetry::set_parent(&span, parent);
    span
}

/// Puts the current span's context into a request.
pub(crate) fn inject(metadata: &mut MetadataMap) {
    let Some(traceparent) = telemetry::current_traceparent() else { return };
    if let Ok(value) = traceparent.parse() {
        metadata.insert(KEY, value);
    }
}
