//! Kinds end to end: what becomes of pods, services, tokens and namespaces on their way through the pipeline.

use std::{collections::HashSet, time::Duration};

use crate::harness::{ADMIN, Cluster};
use http::Method;
use serde_json::{Value, json};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";

fn pod(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}})
}

fn binding(name: &str, node: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}})
}

fn account(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_its_account_its_node_and_its_end() {
    let cluster = Cluster::start().await;
    let mut client = cluster.rest(ADMIN).await;

    let (code, refused) = client.json(Method::POST, PODS, pod("early")).await;
    assert_eq!(code, 403);
    assert_eq!(
        refused["message"],
        "pods \"early\" is forbidden: error looking up service account default/default: serviceaccount \"default\" not found"
    );
    client.json(Method::POST, ACCOUNTS, account("default")).await;
    let (code, made) = client.json(Method::POST, PODS, pod("web")).await;
    assert_eq!(code, 201, "{made}");
    assert_eq!(made["spec"]["serviceAccountName"], "default");
    assert_eq!(made["spec"]["priority"], 0);
    assert_eq!(made["spec"]["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!(made["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    let mount = &made["spec"]["containers"][0]["volumeMounts"][0];
    assert_eq!(mount["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount");
    assert_eq!(mount["name"], made["spec"]["volumes"][0]["name"]);

    let bind = format!("{PODS}/web/binding");
    let (code, _) = client.json(Method::POST, &bind, binding("web", "n1")).await;
    assert_eq!(code, 201);
    let (code, conflict) = client.json(Method::POST, &bind, binding("web", "n2")).await;
    assert_eq!(code, 409);
    assert_eq!(
        conflict["message"],
        "Operation cannot be fulfilled on pods/binding \"web\": pod web is already assigned to node \"n1\""
    );
    let (_, bound) = client.json(Method::GET, &format!("{PODS}/web"), Value::Null).await;
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");

    let (code, refused) = client.json(Method::PATCH, &format!("{PODS}/web"), json!({"spec": {"hostname": "x"}})).await;
    assert_eq!((code, refused["reason"].as_str()), (422, Some("Invalid")));

    let (_, asked) = client.json(Method::DELETE, &format!("{PODS}/web"), Value::Null).await;
    assert_eq!(asked["metadata"]["deletionGracePeriodSeconds"], 30, "a bound pod ends with grace: {asked}");
    let (_, sooner) = client
        .json(
            Method::DELETE,
            &format!("{PODS}/web"),
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 3}),
        )
        .await;
    assert_eq!(sooner["metadata"]["deletionGracePeriodSeconds"], 3);
    client
        .json(
            Method::DELETE,
            &format!("{PODS}/web"),
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0}),
        )
        .await;
    let (code, _) = client.json(Method::GET, &format!("{PODS}/web"), Value::Null).await;
    assert_eq!(code, 404);

    client.json(Method::POST, PODS, pod("unbound")).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "unbound"}});
    let (code, _) = client.json(Method::POST, &format!("{PODS}/unbound/eviction"), eviction).await;
    assert_eq!(code, 201);
    let (code, _) = client.json(Method::GET, &format!("{PODS}/unbound"), Value::Null).await;
    assert_eq!(code, 404, "an unbound pod is gone at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_services_share_an_address_or_a_node_port() {
    const WRITERS: usize = 8;
    const EACH: usize = 10;
    let cluster = Cluster::start().await;
    let writers = (0..WRITERS).map(|writer| {
        let client = cluster.rest(ADMIN);
        async move {
            let mut client = client.await;
            let mut made = Vec::new();
            for index in 0..EACH {
                let service = json!({"metadata": {"name": format!("s-{writer}-{index}")},
                    "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
                let (code, service) = client.json(Method::POST, SERVICES, service).await;
                assert_eq!(code, 201, "{service}");
                made.push(service);
            }
            made
        }
    });
    let made: Vec<Value> = futures::future::join_all(writers).await.into_iter().flatten().collect();
    let addresses: HashSet<&str> = made.iter().filter_map(|service| service["spec"]["clusterIP"].as_str()).collect();
    let ports: HashSet<i64> =
        made.iter().filter_map(|service| service["spec"]["ports"][0]["nodePort"].as_i64()).collect();
    assert_eq!((addresses.len(), ports.len()), (WRITERS * EACH, WRITERS * EACH));

    let mut client = cluster.rest(ADMIN).await;
    let taken = made[0]["spec"]["clusterIP"].as_str().unwrap_or_default();
    let wanted = json!({"metadata": {"name": "wanted"}, "spec": {"clusterIP": taken, "ports": [{"port": 80}]}});
    let (code, refused) = client.json(Method::POST, SERVICES, wanted.clone()).await;
    assert_eq!(code, 422);
    let message = refused["message"].as_str().unwrap_or_default();
    assert!(
        message.ends_with(&format!("failed to allocate IP {taken}: provided IP is already allocated")),
        "{message}"
    );

    let name = made[0]["metadata"]["name"].as_str().unwrap_or_default();
    client.json(Method::DELETE, &format!("{SERVICES}/{name}"), Value::Null).await;
    let (code, reused) = client.json(Method::POST, SERVICES, wanted).await;
    assert_eq!((code, reused["spec"]["clusterIP"].as_str()), (201, Some(taken)), "a released address is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_with_the_pod_that_it_is_bound_to() {
    let cluster = Cluster::start().await;
    let mut client = cluster.rest(ADMIN).await;
    for name in ["default", "other"] {
        client.json(Method::POST, ACCOUNTS, account(name)).await;
    }
    let (_, made) = client.json(Method::POST, PODS, pod("web")).await;
    let request = |seconds: i64| {
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
            "expirationSeconds": seconds,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": made["metadata"]["uid"]}}})
    };
    let (code, short) = client.json(Method::POST, &format!("{ACCOUNTS}/default/token"), request(60)).await;
    assert_eq!(code, 422, "{short}");
    let (code, other) = client.json(Method::POST, &format!("{ACCOUNTS}/other/token"), request(600)).await;
    assert_eq!(code, 400);
    assert_eq!(
        other["message"],
        "cannot bind token for serviceaccount \"other\" to pod running with different serviceaccount name."
    );
    let (code, issued) = client.json(Method::POST, &format!("{ACCOUNTS}/default/token"), request(600)).await;
    assert_eq!(code, 201, "{issued}");
    let token = issued["status"]["token"].as_str().unwrap_or_default().to_owned();

    let mut robot = cluster.rest(&token).await;
    let (code, known) = robot.json(Method::GET, PODS, Value::Null).await;
    assert_eq!(code, 403, "known, and allowed nothing");
    let message = known["message"].as_str().unwrap_or_default();
    assert!(message.contains("User \"system:serviceaccount:default:default\" cannot list resource"), "{message}");
    client.json(Method::DELETE, &format!("{PODS}/web"), Value::Null).await;
    // Gone as soon as the server has heard of it.
    tokio::time::timeout(Duration::from_secs(60), async {
        while robot.json(Method::GET, PODS, Value::Null).await.0 != 401 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the pod is gone, and the token with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_ends_when_its_finalizer_is_given_up() {
    let cluster = Cluster::start().await;
    let mut client = cluster.rest(ADMIN).await;
    let place = "/api/v1/namespaces/team";
    let (_, made) = client.json(Method::POST, "/api/v1/namespaces", json!({"metadata": {"name": "team"}})).await;
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(made["metadata"]["labels"]["kubernetes.io/metadata.name"], "team");

    let (_, going) = client.json(Method::DELETE, place, Value::Null).await;
    assert_eq!(going["status"]["phase"], "Terminating", "{going}");
    let (code, refused) =
        client.json(Method::POST, &format!("{place}/configmaps"), json!({"metadata": {"name": "late"}})).await;
    assert_eq!(code, 403);
    assert_eq!(refused["details"]["causes"][0]["reason"], "NamespaceTerminating");

    let (_, mut present) = client.json(Method::GET, place, Value::Null).await;
    present["spec"]["finalizers"] = json!([]);
    let (code, finalized) = client.json(Method::PUT, &format!("{place}/finalize"), present).await;
    assert_eq!(code, 200, "{finalized}");
    let (code, _) = client.json(Method::GET, place, Value::Null).await;
    assert_eq!(code, 404);
    let (code, kept) = client.json(Method::DELETE, "/api/v1/namespaces/kube-system", Value::Null).await;
    assert_eq!(code, 403);
    assert_eq!(kept["message"], "namespaces \"kube-system\" is forbidden: this namespace may not be deleted");
}
