//! A Deployment of 500 replicas until all are bound, to nodes that exist as objects only.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use keelson_tests::harness::Result;
use serde_json::{Value, json};

use super::api::namespace;
use crate::connection::{Connection, Server};
use crate::table::Table;
use crate::watch::Watch;

const NODES: usize = 5;
const REPLICAS: usize = 500;
const PODS: &str = "/api/v1/namespaces/bench-schedule/pods";

pub async fn measure(server: &Server, table: &mut Table) -> Result<()> {
    let mut connection = namespace(server, "bench-schedule").await?;
    for node in 0..NODES {
        make_node(&mut connection, &format!("bench-node-{node}")).await?;
    }
    let deployment = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "many" }, "spec": {
        "replicas": REPLICAS, "selector": { "matchLabels": { "app": "many" } },
        "template": { "metadata": { "labels": { "app": "many" } }, "spec": {
            "nodeSelector": { "bench": "true" },
            "containers": [{ "name": "c", "image": "none", "resources": { "requests": { "cpu": "1m", "memory": "1Mi" } } }] } } } });
    let mut watch = Watch::from_now(server, PODS).await?;
    let start = Instant::now();
    let deployments = "/apis/apps/v1/namespaces/bench-schedule/deployments";
    connection.call(Method::POST, deployments, deployment.to_string()).await?;
    let (mut created, mut bound) = (0, std::collections::HashSet::new());
    let mut exist = Duration::ZERO;
    while bound.len() < REPLICAS {
        let event = watch.next().await?;
        created += usize::from(event["type"] == "ADDED");
        if created == REPLICAS && exist.is_zero() {
            exist = start.elapsed();
        }
        if event["object"]["spec"]["nodeName"].is_string() {
            bound.insert(event["object"]["metadata"]["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    let text = format!("{:.2} s (all exist after {:.2} s)", start.elapsed().as_secs_f64(), exist.as_secs_f64());
    table.add("a Deployment of 500, all bound", text, "23.9 s (1.2 s without client limits)");
    clean_up(&mut connection).await
}

async fn make_node(connection: &mut Connection, name: &str) -> Result<()> {
    let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": { "bench": "true", "kubernetes.io/hostname": name } } });
    connection.call(Method::POST, "/api/v1/nodes", node.to_string()).await?;
    let capacity = json!({ "cpu": "16", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi" });
    let now = jiff::Timestamp::now().round(jiff::Unit::Second)?.to_string();
    let ready = json!({ "type": "Ready", "status": "True", "reason": "Bench", "message": "an object only", "lastHeartbeatTime": now, "lastTransitionTime": now });
    let status = json!({ "status": { "capacity": capacity, "allocatable": capacity, "conditions": [ready] } });
    let path = format!("/api/v1/nodes/{name}/status");
    let (code, body) =
        connection.attempt(Method::PATCH, &path, "application/merge-patch+json", status.to_string()).await?;
    if code != 200 {
        return Err(format!("{path}: {code} {}", String::from_utf8_lossy(&body)).into());
    }
    // The node lifecycle controller lifts the taint of a node that is Ready.
    loop {
        let node: Value = serde_json::from_slice(
            &connection.call(Method::GET, &format!("/api/v1/nodes/{name}"), Bytes::new()).await?,
        )?;
        if node["spec"]["taints"].as_array().is_none_or(Vec::is_empty) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn clean_up(connection: &mut Connection) -> Result<()> {
    connection.call(Method::DELETE, "/apis/apps/v1/namespaces/bench-schedule/deployments/many", Bytes::new()).await?;
    for node in 0..NODES {
        connection.call(Method::DELETE, &format!("/api/v1/nodes/bench-node-{node}"), Bytes::new()).await?;
    }
    connection.call(Method::DELETE, "/api/v1/namespaces/bench-schedule", Bytes::new()).await?;
    Ok(())
}
