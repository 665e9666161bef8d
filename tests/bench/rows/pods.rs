//! Real pods on the cluster's node; the image is present before anything is measured.

use std::collections::HashSet;
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use keelson_tests::harness::{Cluster, REGISTRY_PASSWORD, REGISTRY_USER, Result};
use serde_json::{Value, json};

use super::World;
use super::api::namespace;
use crate::connection::{Connection, Server};
use crate::memory::megabytes;
use crate::table::Table;
use crate::watch::Watch;

const PODS: &str = "/api/v1/namespaces/bench-pods/pods";

pub async fn measure(cluster: &Cluster, server: &Server, world: &World, table: &mut Table) -> Result<()> {
    let mut connection = namespace(server, "bench-pods").await?;
    let pull =
        json!({ "auths": { world.registry.address(): { "username": REGISTRY_USER, "password": REGISTRY_PASSWORD } } });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "pull" },
        "type": "kubernetes.io/dockerconfigjson", "stringData": { ".dockerconfigjson": pull.to_string() } });
    connection.call(Method::POST, "/api/v1/namespaces/bench-pods/secrets", secret.to_string()).await?;
    let mut bench = Bench { server, connection, spec: spec(world) };
    // The first pod pulls the image.
    bench.start("warm", 1).await?;
    bench.delete("warm", 1).await?;
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let name = format!("one{round}");
        starts.push(bench.start(&name, 1).await?);
        ends.push(bench.delete(&name, 1).await?);
    }
    table.add("one pod, POST to Running", format!("{:.2} s", median(&mut starts)), "0.55 s");
    table.add("delete a pod that ignores SIGTERM, grace 1 s", format!("{:.2} s", median(&mut ends)), "3.8 s");
    let mut deployments = Vec::new();
    for round in 0..3 {
        deployments.push(bench.deployment(&format!("three{round}")).await?);
    }
    table.add("a Deployment of 3, all Ready", format!("{:.2} s", median(&mut deployments)), "0.90 s");
    let thirty = bench.start("many", 30).await?;
    table.add("30 pods at once, all Running", format!("{thirty:.2} s"), "5.2 s");
    let agent = megabytes(cluster, &["nodeagent"])?;
    table.add("node agent with 30 pods", format!("{agent:.1} MB"), "105 MB + 59 MB (kube-proxy)");
    bench.delete("many", 30).await?;
    bench.connection.call(Method::DELETE, "/api/v1/namespaces/bench-pods", Bytes::new()).await?;
    Ok(())
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn spec(world: &World) -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "imagePullSecrets": [{ "name": "pull" }],
        "containers": [{ "name": "c", "image": world.image, "command": ["sleep", "1000000"] }],
    })
}

struct Bench<'a> {
    server: &'a Server,
    connection: Connection,
    spec: Value,
}

impl Bench<'_> {
    /// Posts pods `<label>-<n>` and measures until the watch shows all of them Running, in seconds.
    async fn start(&mut self, label: &str, count: usize) -> Result<f64> {
        let mut watch = Watch::from_now(self.server, PODS).await?;
        let begin = Instant::now();
        for number in 0..count {
            let pod = json!({ "apiVersion": "v1", "kind": "Pod", "spec": self.spec,
                "metadata": { "name": format!("{label}-{number}"), "labels": { "bench": label } } });
            self.connection.call(Method::POST, PODS, pod.to_string()).await?;
        }
        let mut running = HashSet::new();
        while running.len() < count {
            let event = watch.next().await?;
            if event["object"]["status"]["phase"] == "Running"
                && event["object"]["metadata"]["labels"]["bench"] == label
            {
                running.insert(event["object"]["metadata"]["name"].to_string());
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }

    /// Deletes these pods and measures until the watch shows that all are gone, in seconds.
    async fn delete(&mut self, label: &str, count: usize) -> Result<f64> {
        let mut watch = Watch::from_now(self.server, PODS).await?;
        let begin = Instant::now();
        for number in 0..count {
            self.connection.call(Method::DELETE, &format!("{PODS}/{label}-{number}"), Bytes::new()).await?;
        }
        let mut gone = 0;
        while gone < count {
            let event = watch.next().await?;
            gone += usize::from(event["type"] == "DELETED" && event["object"]["metadata"]["labels"]["bench"] == label);
        }
        Ok(begin.elapsed().as_secs_f64())
    }

    async fn deployment(&mut self, name: &str) -> Result<f64> {
        const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/bench-pods/deployments";
        let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name }, "spec": {
            "replicas": 3, "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": self.spec } } });
        let mut watch = Watch::from_now(self.server, DEPLOYMENTS).await?;
        let begin = Instant::now();
        self.connection.call(Method::POST, DEPLOYMENTS, object.to_string()).await?;
        while watch.next().await?["object"]["status"]["readyReplicas"] != 3 {}
        let ready = begin.elapsed().as_secs_f64();
        let mut pods = Watch::from_now(self.server, PODS).await?;
        self.connection.call(Method::DELETE, &format!("{DEPLOYMENTS}/{name}"), Bytes::new()).await?;
        let mut gone = 0;
        while gone < 3 {
            gone += usize::from(pods.next().await?["type"] == "DELETED");
        }
        Ok(ready)
    }
}
