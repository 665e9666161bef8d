//! The client's handling of the wire: watch-lists, resuming, expiry, failover and Status errors, against a server that
//! plays scripted answers over real HTTP/2.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use keelson_client::informer::{Event, Informer, InformerOptions};
use keelson_client::{Client, ClientOptions, LeaderGuard};
use keelson_process::Shutdown;
use keelson_wire::api::api_server::{Api, ApiServer};
use keelson_wire::api::watch_event::Type;
use keelson_wire::api::{CallRequest, CallResponse, WatchEvent, WatchRequest, WatchResponse};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status};

type Events = mpsc::Sender<Result<WatchResponse, Status>>;

/// Watches reach the test as they are opened; calls take the next answer of the script.
#[derive(Clone, Default)]
struct Script {
    answers: Arc<Mutex<VecDeque<CallResponse>>>,
    calls: Arc<Mutex<Vec<CallRequest>>>,
    watches: Option<mpsc::UnboundedSender<(WatchRequest, Events)>>,
}

#[tonic::async_trait]
impl Api for Script {
    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallResponse>, Status> {
        self.calls.lock().unwrap().push(request.into_inner());
        let answer = self.answers.lock().unwrap().pop_front();
        answer.map(Response::new).ok_or_else(|| Status::failed_precondition("the script is at its end"))
    }

    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (sender, receiver) = mpsc::channel(16);
        let watches = self.watches.as_ref().ok_or_else(|| Status::failed_precondition("no watches here"))?;
        watches.send((request.into_inner(), sender)).map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

async fn serve(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(ApiServer::new(script));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn client(endpoints: &[String]) -> Client {
    let options =
        ClientOptions { endpoints: endpoints.to_vec(), user_agent: "tester/1".to_owned(), ..ClientOptions::default() };
    Client::new(options).unwrap()
}

fn config_map(name: &str, version: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "ns", "uid": name, "resourceVersion": version, "managedFields": [{"manager": "m"}]}})
}

fn bookmark(version: &str, initial_end: bool) -> (Type, Value) {
    let annotations = if initial_end { json!({"k8s.io/initial-events-end": "true"}) } else { json!({}) };
    (Type::Bookmark, json!({"metadata": {"resourceVersion": version, "annotations": annotations}}))
}

fn response(events: Vec<(Type, Value)>) -> Result<WatchResponse, Status> {
    let event =
        |(kind, object): (Type, Value)| WatchEvent { r#type: kind.into(), object: Bytes::from(object.to_string()) };
    Ok(WatchResponse { events: events.into_iter().map(event).collect() })
}

fn answer(code: i32, body: Value) -> CallResponse {
    CallResponse { code, body: Bytes::from(body.to_string()), warnings: Vec::new() }
}

fn describe(event: Option<Event<ConfigMap>>) -> String {
    match event {
        Some(Event::Applied { old, new }) => {
            let kind = if old.is_some() { "changed" } else { "added" };
            let version = new.metadata.resource_version.clone().unwrap_or_default();
            format!("{kind} {} {version}", new.metadata.name.clone().unwrap_or_default())
        }
        Some(Event::Deleted(object)) => format!("deleted {}", object.metadata.name.clone().unwrap_or_default()),
        Some(Event::Resync) => "resync".to_owned(),
        None => "end".to_owned(),
    }
}

#[tokio::test]
async fn an_informer_follows_resumes_and_starts_over() {
    let (sender, mut watches) = mpsc::unbounded_channel();
    let address = serve(Script { watches: Some(sender), ..Script::default() }).await;
    let shutdown = Shutdown::new();
    let client = client(&[format!("http://{address}")]);
    let informer = Informer::<ConfigMap>::start(&client, InformerOptions::default(), &shutdown);
    let mut subscription = informer.subscribe();

    let (request, events) = watches.recv().await.unwrap();
    assert!(request.send_initial_events && request.allow_bookmarks);
    events.send(response(vec![(Type::Added, config_map("a", "1"))])).await.unwrap();
    assert!(!informer.has_synced(), "half a state is no state");
    events.send(response(vec![(Type::Added, config_map("b", "2")), bookmark("5", true)])).await.unwrap();
    assert!(informer.synced().await);
    assert_eq!(informer.store().len(), 2);
    assert_eq!(informer.get("ns", "a").unwrap().metadata.managed_fields, None);
    assert_eq!(describe(subscription.next().await), "added a 1");
    assert_eq!(describe(subscription.next().await), "added b 2");

    events.send(response(vec![(Type::Modified, config_map("a", "6"))])).await.unwrap();
    assert_eq!(describe(subscription.next().await), "changed a 6");
    events.send(response(vec![bookmark("9", false)])).await.unwrap();
    drop(events);

    let (request, events) = watches.recv().await.unwrap();
    assert!(!request.send_initial_events);
    assert_eq!(request.options.unwrap().resource_version, "9", "it goes on after the last bookmark");
    let expired = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410});
    events.send(response(vec![(Type::Deleted, config_map("b", "10")), (Type::Error, expired)])).await.unwrap();
    assert_eq!(describe(subscription.next().await), "deleted b");

    let (request, events) = watches.recv().await.unwrap();
    assert!(request.send_initial_events, "what is expired starts over");
    let state = vec![(Type::Added, config_map("c", "11")), bookmark("12", true)];
    events.send(response(state)).await.unwrap();
    assert_eq!(describe(subscription.next().await), "deleted a");
    assert_eq!(describe(subscription.next().await), "added c 11");
    shutdown.begin();
    assert_eq!(describe(subscription.next().await), "end");
}

#[tokio::test]
async fn a_dead_endpoint_is_left_for_the_next() {
    let script = Script::default();
    script.answers.lock().unwrap().push_back(answer(200, config_map("a", "1")));
    let address = serve(script.clone()).await;
    // Nothing listens on a port that was just given up.
    let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = client(&[format!("http://{unused}"), format!("http://{address}")]);
    let guard = LeaderGuard { name: "lease".to_owned(), transitions: 3, ..LeaderGuard::default() };
    let api = client.with_guard(guard).namespaced::<ConfigMap>("ns");
    let created = api.create(&ConfigMap::default()).await.unwrap();
    assert_eq!(created.metadata.name.as_deref(), Some("a"));
    let calls = script.calls.lock().unwrap();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].guard.as_ref().unwrap().transitions, 3);
    assert_eq!(calls[0].options.as_ref().unwrap().field_manager, "tester");
    assert_eq!(calls[0].target.as_ref().unwrap().resource, "configmaps");
}

#[tokio::test]
async fn a_status_is_an_error_with_its_reason() {
    let script = Script::default();
    let conflict = json!({"kind": "Status", "status": "Failure", "reason": "Conflict", "message": "no", "code": 409});
    script.answers.lock().unwrap().push_back(answer(409, conflict));
    let address = serve(script).await;
    let api = client(&[format!("http://{address}")]).namespaced::<ConfigMap>("ns");
    let error = api.update("a", &ConfigMap::default()).await.unwrap_err();
    assert!(error.is_conflict() && error.is_retryable());
    assert_eq!(error.to_string(), "no");
    let error = api.get("a").await.unwrap_err();
    assert!(error.is_transport(), "{error}");
}
