//! Probes of every kind, and hooks that are no commands.

use serde_json::{Value, json};

use super::{create, event, ready};
use crate::harness::{Result, Scenario};
use crate::scenarios::World;

pub const SCENARIOS: [Scenario<World>; 1] = [Scenario { name: "pods-probes-of-every-kind", run: every_kind }];

/// What nginx serves: pages and redirects, the same in TLS, and gRPC's health service as a file: a message of two bytes
/// that says SERVING.
const CONFIGURATION: &str = "user root;
worker_processes 1;
daemon off;
pid /run/nginx.pid;
error_log /dev/stderr notice;
events { worker_connections 64; }
http {
  access_log /dev/stdout;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  server {
    listen 80;
    listen 443 ssl;
    ssl_certificate /tls/tls.crt;
    ssl_certificate_key /tls/tls.key;
    location / { root /usr/share/nginx/html; index index.html; }
    location /hop { return 302 /; }
    location /away { return 302 http://example.invalid/; }
    location /lost { return 302 /missing; }
  }
  server {
    listen 50051 http2;
    location /grpc.health.v1.Health/Check {
      error_page 405 =200 /serving;
      return 405;
    }
    location = /serving {
      internal;
      root /health;
      default_type application/grpc;
      add_trailer grpc-status 0;
    }
  }
}
";
/// Not compressed, two bytes; field 1 is 1.
const SERVING: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];

fn every_kind(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("probe-kinds")?;
    let directory = tempfile::tempdir()?;
    let (configuration, serving) = (directory.path().join("nginx.conf"), directory.path().join("serving"));
    std::fs::write(&configuration, CONFIGURATION)?;
    std::fs::write(&serving, SERVING)?;
    let files = format!("--from-file={} --from-file={}", configuration.display(), serving.display());
    kubectl.run(&format!("create configmap server {files}"))?;
    let pki = world.cluster.configuration().join("pki");
    kubectl
        .run(&format!("create secret tls server --cert={0}/apiserver.crt --key={0}/apiserver.key", pki.display()))?;
    let image = world.image("nginx:1")?;
    let pod = |probes: Value| {
        let mut container = json!({
            "name": "web", "image": image,
            "ports": [{ "name": "tls", "containerPort": 443 }],
            "volumeMounts": [
                { "name": "server", "mountPath": "/etc/nginx/nginx.conf", "subPath": "nginx.conf" },
                { "name": "server", "mountPath": "/health/serving", "subPath": "serving" },
                { "name": "tls", "mountPath": "/tls" },
            ],
        });
        container.as_object_mut().expect("an object").extend(probes.as_object().cloned().unwrap_or_default());
        json!({
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            "volumes": [
                { "name": "server", "configMap": { "name": "server" } },
                { "name": "tls", "secret": { "secretName": "server" } },
            ],
        })
    };
    let http = |path: &str| json!({ "httpGet": { "path": path, "port": 80 }, "periodSeconds": 1 });

    create(
        &kubectl,
        "all-kinds",
        pod(json!({
            "startupProbe": { "tcpSocket": { "port": 80 }, "periodSeconds": 1, "timeoutSeconds": 10, "failureThreshold": 30 },
            "livenessProbe": { "httpGet": { "path": "/", "port": "tls", "scheme": "HTTPS" }, "periodSeconds": 1, "timeoutSeconds": 10 },
            "readinessProbe": { "grpc": { "port": 50051 }, "periodSeconds": 1, "timeoutSeconds": 10 },
            "lifecycle": {
                "postStart": { "sleep": { "seconds": 1 } },
                "preStop": { "httpGet": { "path": "/hop", "port": 80 } },
            },
        })),
    )?;
    create(&kubectl, "followed", pod(json!({ "readinessProbe": http("/hop") })))?;
    create(&kubectl, "sent-away", pod(json!({ "readinessProbe": http("/away") })))?;
    create(&kubectl, "lost", pod(json!({ "readinessProbe": http("/lost") })))?;
    create(&kubectl, "closed", pod(json!({ "readinessProbe": { "tcpSocket": { "port": 81 }, "periodSeconds": 1 } })))?;
    create(
        &kubectl,
        "not-grpc",
        pod(json!({
            "readinessProbe": { "grpc": { "port": 80 }, "periodSeconds": 1 },
            "lifecycle": { "postStart": { "exec": { "command": ["sh", "-c", "exit 3"] } } },
        })),
    )?;

    ready(&kubectl, "pod/all-kinds pod/followed pod/sent-away")?;
    event(
        &kubectl,
        "sent-away",
        "ProbeWarning",
        "Readiness probe warning: Probe terminated redirects, Response body: ",
    )?;
    event(&kubectl, "lost", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 404")?;
    event(&kubectl, "closed", "Unhealthy", ":81: connect: connection refused")?;
    event(&kubectl, "not-grpc", "FailedPostStartHook", "PostStartHook failed")?;
    let restarts = kubectl.run("get pod all-kinds --output=jsonpath={.status.containerStatuses[0].restartCount}")?;
    assert_eq!(restarts, "0");
    kubectl.run("delete pods --all").map(drop)
}
