//! Bad input gets upstream's error, and nothing is half-written.

use super::World;
use crate::harness::{Kubectl, Result, Scenario, eventually};

pub const SCENARIOS: [Scenario<World>; 3] = [
    Scenario { name: "bad-objects", run: objects },
    Scenario { name: "bad-sizes", run: sizes },
    Scenario { name: "bad-images", run: images },
];

fn objects(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("bad-objects")?;
    refused(
        &kubectl,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"dta":{"a":"b"}}"#,
        "unknown field \"dta\"",
    )?;
    refused(
        &kubectl,
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"x"},"spec":{"replicas":"three","selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}"#,
        "cannot unmarshal string into Go struct field",
    )?;
    refused(
        &kubectl,
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"Not_DNS"}}"#,
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters",
    )?;
    refused(
        &kubectl,
        r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"},"spec":{"containers":[{"name":"c"}]}}"#,
        "spec.containers[0].image: Required value",
    )?;
    kubectl.feed(
        "create --filename=-",
        r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"stale"},"data":{"n":"1"}}"#,
    )?;
    let first = kubectl.get("configmap stale")?;
    kubectl.run_words(&["patch", "configmap", "stale", "--patch", r#"{"data":{"n":"2"}}"#])?;
    let said = kubectl.refused("replace --filename=-", Some(&first.to_string()))?;
    assert!(
        said.contains("the object has been modified; please apply your changes to the latest version and try again"),
        "{said}"
    );
    assert_eq!(kubectl.get("configmap stale")?["data"]["n"], "2");
    let left = kubectl.run("get configmaps,pods,deployments --output=name")?;
    assert_eq!(left.lines().filter(|name| !name.contains("kube-root-ca")).count(), 1, "{left}");
    Ok(())
}

fn refused(kubectl: &Kubectl, object: &str, because: &str) -> Result<()> {
    let said = kubectl.refused("create --validate=strict --filename=-", Some(object))?;
    if said.contains(because) { Ok(()) } else { Err(format!("{because:?} was to be said, but: {said}").into()) }
}

fn sizes(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("bad-sizes")?;
    let object = |value: &str| {
        format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"large"}},"data":{{"k":{value}}}}}"#)
    };
    let raw =
        |body: &str| kubectl.refused("create --raw /api/v1/namespaces/bad-sizes/configmaps --filename=-", Some(body));
    let said = raw(&object(&format!("\"{}\"", "x".repeat(3 << 20))))?;
    assert!(said.contains("too large") || said.contains("Too long"), "{said}");
    let said = raw(&object(&format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))))?;
    assert!(!said.is_empty());
    assert_eq!(kubectl.attempt("get configmap large", None)?.code, 1);
    Ok(())
}

fn images(world: &mut World) -> Result<()> {
    let kubectl = world.namespace("bad-images")?;
    kubectl.run(&format!("run missing --image={}", world.image("nginx:no-such-tag")?))?;
    // kubectl run would refuse the name itself.
    let malformed = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"malformed"},"spec":{"containers":[{"name":"main","image":"upper/Case:tag"}]}}"#;
    kubectl.feed("create --filename=-", malformed)?;
    for (pod, reasons) in
        [("missing", ["ErrImagePull", "ImagePullBackOff"]), ("malformed", ["InvalidImageName", "InvalidImageName"])]
    {
        for reason in reasons {
            eventually(&format!("{pod} waits with {reason}"), || {
                let seen = kubectl.get(&format!("pod {pod}"))?;
                let waiting = &seen["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
                if waiting == reason { Ok(()) } else { Err(format!("reason {waiting}").into()) }
            })?;
        }
    }
    // Another image is looked for at once, whatever became of the one before.
    let good = world.image("nginx:1")?;
    kubectl.run(&format!("set image pod/missing missing={good}"))?;
    kubectl.run(&format!("set image pod/malformed main={good}"))?;
    kubectl.run("wait --for=condition=Ready pod/missing pod/malformed --timeout=60s")?;
    kubectl.run("delete pod missing malformed").map(drop)
}
