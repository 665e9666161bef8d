//! A session of the real kubectl against the server over an etcd, which is told to leave and comes back in between.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::Cluster;

/// kubectl with the administrator's certificate.
fn kubectl(cluster: &Cluster, words: &[&str]) -> Command {
    let file = |name: &str| cluster.directory.path().join(name);
    let mut command = Command::new(std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into()));
    command
        .arg(format!("--server=https://localhost:{}", cluster.addresses.rest.port()))
        .arg("--kubeconfig=/dev/null")
        .arg(format!("--cache-dir={}", file("cache").display()))
        .arg(format!("--certificate-authority={}", file("ca.crt").display()))
        .arg(format!("--client-certificate={}", file("admin.crt").display()))
        .arg(format!("--client-key={}", file("admin.key").display()))
        .args(words)
        .stdin(Stdio::null());
    command
}

/// What it prints; it has to succeed.
fn said(cluster: &Cluster, words: &[&str]) -> String {
    let output = kubectl(cluster, words).output().expect("kubectl runs (set KUBECTL where it is not on the PATH)");
    assert!(output.status.success(), "kubectl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Ended when it is dropped, also by a test that fails.
struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_creates_reads_watches_and_deletes_over_an_etcd() {
    let mut cluster = Cluster::start().await;
    let mut watch = Watch(
        kubectl(&cluster, &["get", "deployments", "--watch", "--output-watch-events", "--no-headers"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl runs"),
    );
    let mut events = BufReader::new(watch.0.stdout.take().expect("it was piped")).lines();
    let created = said(&cluster, &["create", "deployment", "web", "--image=nginx", "--replicas=2"]);
    assert_eq!(created, "deployment.apps/web created");
    let mut next = || events.next().expect("the watch goes on").expect("text");
    let added = next();
    assert!(added.starts_with("ADDED") && added.contains("web") && added.contains("0/2"), "{added}");
    assert_eq!(said(&cluster, &["scale", "deployment", "web", "--replicas=5"]), "deployment.apps/web scaled");
    let modified = next();
    assert!(modified.starts_with("MODIFIED") && modified.contains("0/5"), "{modified}");
    drop(watch);

    cluster.restart().await;

    let web: Value =
        serde_json::from_str(&said(&cluster, &["get", "deployment", "web", "--output=json"])).expect("JSON");
    assert_eq!(web["spec"]["replicas"], 5);
    assert_eq!(web["metadata"]["generation"], 2);
    let deleted = said(&cluster, &["delete", "deployment", "web", "--cascade=background"]);
    assert!(deleted.starts_with("deployment.apps \"web\" deleted"), "{deleted}");
    assert_eq!(said(&cluster, &["get", "deployments", "--output=name"]), "");
}
