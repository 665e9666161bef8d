//! Trace context: writes of traced kinds are spans, and what they write carries the span on.
//!
//! Other requests are not sampled; a trace is about one object's way through the cluster.

use keelson_objects::meta;
use serde_json::Value;
use tracing::Span;

use super::Request;
use crate::registry::Verb;

/// The span of a request that is part of an object's story.
pub(super) fn span(request: &Request) -> Option<Span> {
    let writes = matches!(request.verb, Verb::Create | Verb::Update | Verb::Patch | Verb::Delete);
    if !request.kind.traced || !writes {
        return None;
    }
    let span = keelson_process::traced!(
        "api request",
        verb = request.verb.name(),
        resource = %request.kind.resource,
        subresource = %request.subresource,
        namespace = %request.namespace,
        name = %request.name,
        user = %request.user.name,
    );
    if let Some(parent) = &request.traceparent {
        keelson_process::telemetry::set_parent(&span, parent);
    }
    Some(span)
}

/// Stamps an object of a traced kind that is new or whose spec changed.
pub(super) fn stamp(request: &Request, object: &mut Value, old: Option<&Value>) {
    if !request.kind.traced {
        return;
    }
    let changed = old.is_none_or(|old| old.get("spec") != object.get("spec"));
    if !changed {
        return;
    }
    if let Some(traceparent) = keelson_process::telemetry::current_traceparent() {
        meta::set_annotation(object, meta::TRACEPARENT, &traceparent);
    }
}
