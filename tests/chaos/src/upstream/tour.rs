//! A kubectl session on a store that is whole: what an API server asks of its store, kind by kind.

use super::kubectl::Kubectl;
use crate::{Error, Result};

const KIND: &str = r#"{"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "keels.ship.example"},
    "spec": {"group": "ship.example", "scope": "Namespaced", "names": {"plural": "keels", "kind": "Keel"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
            {"type": "object", "properties": {"spec": {"type": "object", "properties": {"length": {"type": "integer"}}}}}}}]}}"#;
const OBJECT: &str =
    r#"{"apiVersion": "ship.example/v1", "kind": "Keel", "metadata": {"name": "long"}, "spec": {"length": 40}}"#;
const MAPS: usize = 7;

fn expect(what: &str, wanted: &str, told: &str) -> Result<()> {
    if wanted == told { Ok(()) } else { Err(Error::new(format!("{what}: {told:?}, and not {wanted:?}"))) }
}

/// An error says what was not as it should be.
pub fn take(kubectl: &Kubectl) -> Result<()> {
    kubectl.run(&["create", "namespace", "tour"])?;
    let here = kubectl.within("tour");
    for number in 0..MAPS {
        here.run(&["create", "configmap", &format!("map{number}"), "--from-literal=word=kept"])?;
    }
    let chunks = here.run(&["get", "configmaps", "--chunk-size=3", "--output=name"])?;
    expect("a list by chunks", &MAPS.to_string(), &chunks.lines().count().to_string())?;
    here.run(&["delete", "configmap", "map0"])?;
    match here.attempt(&["get", "configmap", "map0"], "")? {
        Err(told) if told.contains("NotFound") => {}
        other => return Err(Error::new(format!("a configmap that was deleted: {other:?}"))),
    }
    here.run(&["create", "deployment", "web", "--image=nginx", "--replicas=2"])?;
    here.run(&["patch", "deployment", "web", "--patch={\"spec\":{\"replicas\":3}}"])?;
    let replicas = here.run(&["get", "deployment", "web", "--output=jsonpath={.spec.replicas}"])?;
    expect("a deployment that was patched", "3", &replicas)?;
    here.fed(&["create", "--filename=-"], KIND)?;
    here.run(&["wait", "--for=condition=Established", "--timeout=60s", "crd/keels.ship.example"])?;
    here.fed(&["create", "--filename=-"], OBJECT)?;
    let length = here.run(&["get", "keel", "long", "--output=jsonpath={.spec.length}"])?;
    expect("an object of a kind of its own", "40", &length)?;
    let leases = kubectl.within("kube-system").run(&["get", "leases", "--output=name"])?;
    if !leases.contains("apiserver-") {
        return Err(Error::new(format!("the API server's own lease is not there: {leases:?}")));
    }
    Ok(())
}
