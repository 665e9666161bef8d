//! Pod (core/v1): its place in the API, and what it takes for one to be accepted, changed and deleted.

pub mod annotations;
pub mod columns;
pub mod containers;
pub mod defaults;
mod downward;
mod env;
mod label_keys;
mod mounts;
pub mod placement;
mod probes;
pub mod qos;
mod resources;
mod security;
pub mod spec;
mod strategy;
pub mod template;
mod update;
mod volumes;
pub mod warnings;

#[cfg(test)]
mod tests;

use super::fields::Fields;
use crate::registry::{Kind, Subresource, Verb};
use crate::streams::{Attach, Exec, Log, PortForward};
use crate::subresources::{binding::Bind, eviction::Evict};

/// kubectl opens its streams with GET (WebSocket) and older clients with POST.
const STREAM: &[Verb] = &[Verb::Create, Verb::Get];

pub fn kind() -> Kind {
    Kind::new("", "v1", "Pod", "pods")
        .short_names(&["po"])
        .categories(&["all"])
        .traced()
        .with_generation()
        .columns(columns::columns())
        .selectable_field("spec.nodeName", |pod| pod.sub("spec").text("nodeName").to_owned())
        .selectable_field("spec.restartPolicy", |pod| pod.sub("spec").text("restartPolicy").to_owned())
        .selectable_field("spec.schedulerName", |pod| pod.sub("spec").text("schedulerName").to_owned())
        .selectable_field("spec.serviceAccountName", |pod| pod.sub("spec").text("serviceAccountName").to_owned())
        .selectable_field("spec.hostNetwork", |pod| pod.sub("spec").flag("hostNetwork").unwrap_or(false).to_string())
        .selectable_field("status.phase", |pod| pod.sub("status").text("phase").to_owned())
        .selectable_field("status.podIP", |pod| pod.sub("status").text("podIP").to_owned())
        .selectable_field("status.nominatedNodeName", |pod| pod.sub("status").text("nominatedNodeName").to_owned())
        .subresource(Subresource::connect("attach", Some(("", "v1", "PodAttachOptions")), STREAM, Attach))
        .subresource(Subresource::exchange("binding", ("", "v1", "Binding"), Verb::CREATE, Bind))
        .subresource(Subresource::exchange("eviction", ("policy", "v1", "Eviction"), Verb::CREATE, Evict))
        .subresource(Subresource::connect("exec", Some(("", "v1", "PodExecOptions")), STREAM, Exec))
        .subresource(Subresource::connect("log", None, Verb::GET, Log))
        .subresource(Subresource::connect(
            "portforward",
            Some(("", "v1", "PodPortForwardOptions")),
            STREAM,
            PortForward,
        ))
        .subresource(Subresource::status())
        .strategy(strategy::PodStrategy)
}
