//! `keelson trace KIND/NAME`: the timeline of what made an object.
//!
//! The object carries the context of the request that made it (annotation `keelson.dev/traceparent`), every process
//! keeps its newest spans in files; this joins the two.

mod timeline;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::{Pod, Service};
use keelson_client::{Client, Object};
use keelson_process::telemetry::read_spans;

use crate::api;
use crate::error::{Error, Result};
use crate::layout::Layout;

const ANNOTATION: &str = "keelson.dev/traceparent";

pub async fn trace(layout: &Layout, object: &str, namespace: &str) -> Result<()> {
    let Some((kind, name)) = object.split_once('/') else {
        return Err(
            Error::new(format!("{object} names no object")).hint("write KIND/NAME, such as deployment/test-nginx")
        );
    };
    let client = api::client(layout)?;
    let traceparent = match kind.to_ascii_lowercase().as_str() {
        "pod" | "pods" | "po" => traceparent::<Pod>(&client, namespace, name).await?,
        "deployment" | "deployments" | "deploy" | "deployment.apps" | "deployments.apps" => {
            traceparent::<Deployment>(&client, namespace, name).await?
        }
        "replicaset" | "replicasets" | "rs" | "replicaset.apps" | "replicasets.apps" => {
            traceparent::<ReplicaSet>(&client, namespace, name).await?
        }
        "service" | "services" | "svc" => traceparent::<Service>(&client, namespace, name).await?,
        _ => {
            return Err(Error::new(format!("objects of kind {kind} are not traced"))
                .hint("these are: pod, deployment, replicaset, service"));
        }
    };
    let trace = traceparent.split('-').nth(1).unwrap_or_default();
    let directory = layout.traces();
    let spans = read_spans(&directory, trace).map_err(|error| Error::file("read", &directory, error))?;
    if spans.is_empty() {
        return Err(Error::new(format!("no process remembers the trace {trace} of {object}"))
            .hint("processes keep their newest spans only; act on the object and look again"));
    }
    print!("{}", timeline::draw(object, trace, &spans));
    Ok(())
}

async fn traceparent<K: Object>(client: &Client, namespace: &str, name: &str) -> Result<String> {
    let object = client
        .namespaced::<K>(namespace)
        .get(name)
        .await
        .map_err(|error| Error::tried(format!("get {name}"), error))?;
    let annotations = object.metadata().annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(ANNOTATION))
        .cloned()
        .ok_or_else(|| Error::new(format!("{name} carries no trace: it was made while tracing was off")))
}
