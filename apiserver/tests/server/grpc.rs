//! The gRPC door end to end: calls, watches, and the guard that stops a leader who no longer is one.

use crate::harness::Cluster;
use keelson_wire::api::{
    CallRequest, CallResponse, LeaderGuard, Target, Verb, WatchRequest, api_client::ApiClient, watch_event,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

fn target(group: &str, resource: &str, name: &str) -> Option<Target> {
    Some(Target {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        namespace: "default".to_owned(),
        name: name.to_owned(),
        ..Target::default()
    })
}

async fn call(client: &mut ApiClient<Channel>, request: CallRequest) -> CallResponse {
    client.call(request).await.expect("an answer").into_inner()
}

async fn create(
    client: &mut ApiClient<Channel>,
    group: &str,
    resource: &str,
    object: Value,
    guard: Option<LeaderGuard>,
) -> CallResponse {
    let request = CallRequest {
        verb: Verb::Create.into(),
        target: target(group, resource, ""),
        body: object.to_string().into(),
        guard,
        ..CallRequest::default()
    };
    call(client, request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_watches_meet_the_same_pipeline() {
    let cluster = Cluster::start().await;
    let mut client = cluster.grpc("kcm").await;
    let created = create(&mut client, "", "configmaps", json!({"metadata": {"name": "a"}}), None).await;
    assert_eq!(created.code, 201);

    let request =
        WatchRequest { target: target("", "configmaps", ""), send_initial_events: true, ..WatchRequest::default() };
    let mut watch = client.watch(request).await.expect("a watch").into_inner();
    let mut kinds = Vec::new();
    while kinds.last() != Some(&watch_event::Type::Bookmark) {
        let message = watch.message().await.expect("a message").expect("an open stream");
        kinds.extend(message.events.iter().map(|event| event.r#type()));
    }
    assert_eq!(kinds, [watch_event::Type::Added, watch_event::Type::Bookmark]);

    let request =
        CallRequest { verb: Verb::Delete.into(), target: target("", "configmaps", "a"), ..CallRequest::default() };
    assert_eq!(call(&mut client, request.clone()).await.code, 200);
    let message = watch.message().await.expect("a message").expect("an open stream");
    assert_eq!(message.events[0].r#type(), watch_event::Type::Deleted);
    let gone = call(&mut client, request).await;
    let status: Value = serde_json::from_slice(&gone.body).expect("a Status");
    assert_eq!((gone.code, status["reason"].as_str()), (404, Some("NotFound")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_leader_cannot_write_after_its_term() {
    let cluster = Cluster::start().await;
    let mut client = cluster.grpc("kcm").await;
    let lease = json!({
        "metadata": {"name": "boss"},
        "spec": {"holderIdentity": "one", "leaseTransitions": 3, "leaseDurationSeconds": 15},
    });
    assert_eq!(create(&mut client, "coordination.k8s.io", "leases", lease, None).await.code, 201);
    let guard = |holder: &str, transitions: i32| {
        let (namespace, name) = ("default".to_owned(), "boss".to_owned());
        Some(LeaderGuard { namespace, name, holder: holder.to_owned(), transitions })
    };
    let object = |name: &str| json!({"metadata": {"name": name}});
    assert_eq!(create(&mut client, "", "configmaps", object("a"), guard("one", 3)).await.code, 201);

    let request = CallRequest {
        verb: Verb::Patch.into(),
        target: target("coordination.k8s.io", "leases", "boss"),
        body: json!({"spec": {"holderIdentity": "two", "leaseTransitions": 4}}).to_string().into(),
        content_type: "application/merge-patch+json".to_owned(),
        ..CallRequest::default()
    };
    assert_eq!(call(&mut client, request).await.code, 200);
    let refused = create(&mut client, "", "configmaps", object("b"), guard("one", 3)).await;
    assert_eq!(refused.code, 409, "{}", String::from_utf8_lossy(&refused.body));
    assert_eq!(create(&mut client, "", "configmaps", object("c"), guard("two", 4)).await.code, 201);
}
