//! The objects that a cluster has from its first second: the system namespaces, and the `kubernetes` Service with
//! the address of this server behind it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use keelson_objects::status::StatusError;
use serde_json::{Value, json};

use crate::{
    authentication::User,
    pipeline::{Body, Options, Pipeline, Request},
    registry::Verb,
};

const NAMESPACES: &[&str] = &["kube-system", "kube-public", "kube-node-lease", "default"];
const PAUSE: Duration = Duration::from_millis(200);

/// Makes what is missing; comes back when all of it is there.
pub async fn ensure(pipeline: &Arc<Pipeline>) {
    for namespace in NAMESPACES {
        let object =
            json!({ "metadata": { "name": namespace, "labels": { "kubernetes.io/metadata.name": namespace } } });
        persist(pipeline, "", "v1", "namespaces", "", namespace, object).await;
    }
    let Some(address) = pipeline.settings.service_cidr.hosts().next() else { return };
    let (advertised, port) = (pipeline.settings.advertise_address, pipeline.settings.secure_port);
    persist(pipeline, "", "v1", "services", "default", "kubernetes", service(address, port)).await;
    if advertised.is_loopback() {
        tracing::warn!(%advertised, "nothing outside this host reaches that address, so the kubernetes Service has no endpoint");
        return;
    }
    let slice = endpoint_slice(advertised, port);
    persist(pipeline, "discovery.k8s.io", "v1", "endpointslices", "default", "kubernetes", slice).await;
    persist(pipeline, "", "v1", "endpoints", "default", "kubernetes", endpoints(advertised, port)).await;
    persist_address(pipeline, advertised).await;
}

fn service(address: IpAddr, port: u16) -> Value {
    json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "component": "apiserver", "provider": "kubernetes" },
        },
        "spec": {
            "clusterIP": address.to_string(),
            "clusterIPs": [address.to_string()],
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": port }],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    })
}

fn endpoint_slice(advertised: IpAddr, port: u16) -> Value {
    json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": if advertised.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [advertised.to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    })
}

fn endpoints(advertised: IpAddr, port: u16) -> Value {
    json!({
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
        },
        "subsets": [{
            "addresses": [{ "ip": advertised.to_string() }],
            "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
        }],
    })
}

/// Another server's slice may be there already: see that this server's address is among its endpoints.
async fn persist_address(pipeline: &Arc<Pipeline>, advertised: IpAddr) {
    let Some(kind) = pipeline.registry.find("discovery.k8s.io", "v1", "endpointslices").cloned() else { return };
    let request = request(pipeline, "discovery.k8s.io", "v1", "endpointslices", "default", "kubernetes");
    let Some(request) = request else { return };
    let address = advertised.to_string();
    let outcome = pipeline
        .modify(&request, &kind, "default", "kubernetes", |slice| {
            let Some(endpoints) = slice["endpoints"].as_array_mut() else { return Ok(()) };
            if !endpoints.iter().any(|endpoint| endpoint["addresses"][0] == address.as_str()) {
                endpoints.push(json!({ "addresses": [address], "conditions": { "ready": true } }));
            }
            Ok(())
        })
        .await;
    if let Err(error) = outcome {
        tracing::warn!(%error, "this server's address is not among the endpoints of the kubernetes Service");
    }
}

fn request(
    pipeline: &Pipeline,
    group: &str,
    version: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Option<Request> {
    let kind = pipeline.registry.find(group, version, resource)?.clone();
    Some(Request {
        user: Arc::new(User::api_server()),
        verb: Verb::Create,
        kind,
        subresource: String::new(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        rest: String::new(),
        options: Options::default(),
        body: Body::default(),
        guard: None,
        traceparent: None,
        user_agent: "apiserver".to_owned(),
    })
}

async fn persist(
    pipeline: &Arc<Pipeline>,
    group: &str,
    version: &str,
    resource: &str,
    namespace: &str,
    name: &str,
    object: Value,
) {
    let Some(mut request) = request(pipeline, group, version, resource, namespace, name) else { return };
    if pipeline.cache.get(&request.kind, namespace, name).is_some() {
        return;
    }
    request.body.bytes = Bytes::from(object.to_string());
    loop {
        match pipeline.handle(request.clone()).await.map(drop) {
            Ok(()) => return,
            Err(error) if error.is_already_exists() => return,
            Err(error) if is_final(&error) => {
                tracing::error!(%error, resource, name, "an initial object is refused");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, resource, name, "an initial object cannot be made yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Asking again would not help.
fn is_final(error: &StatusError) -> bool {
    matches!(error.code(), 400 | 403 | 409 | 413 | 422)
}
