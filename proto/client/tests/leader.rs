//! Leader election over the wire: one leads at a time, each leadership has its own epoch, a lost Lease ends it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use keelson_client::leader::{self, LeaderOptions};
use keelson_client::{Client, ClientOptions};
use keelson_objects::status::{GroupResource, StatusError};
use keelson_process::Shutdown;
use keelson_wire::api::api_server::{Api, ApiServer};
use keelson_wire::api::{CallRequest, CallResponse, Verb, WatchRequest, WatchResponse};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

const LEASES: GroupResource<'static> = GroupResource { group: "coordination.k8s.io", resource: "leases" };

/// One Lease under optimistic concurrency.
#[derive(Clone, Default)]
struct OneLease {
    stored: Arc<Mutex<(u64, Option<Value>)>>,
}

impl OneLease {
    fn answer(&self, call: &CallRequest) -> Result<Value, StatusError> {
        let mut stored = self.stored.lock().unwrap();
        let sent: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        match (call.verb(), &stored.1) {
            (Verb::Get, None) => return Err(StatusError::not_found(&LEASES, "x")),
            (Verb::Get, Some(lease)) => return Ok(lease.clone()),
            (Verb::Create, Some(_)) => return Err(StatusError::already_exists(&LEASES, "x")),
            (Verb::Update, Some(lease))
                if lease["metadata"]["resourceVersion"] != sent["metadata"]["resourceVersion"] =>
            {
                return Err(StatusError::stale(&LEASES, "x"));
            }
            _ => {}
        }
        stored.0 += 1;
        let version = stored.0.to_string();
        let mut lease = sent;
        lease["metadata"]["resourceVersion"] = json!(version);
        stored.1 = Some(lease.clone());
        Ok(lease)
    }

    /// Another takes the Lease by force.
    fn seize(&self) {
        let mut stored = self.stored.lock().unwrap();
        stored.0 += 1;
        let version = stored.0.to_string();
        let lease = stored.1.as_mut().unwrap();
        lease["metadata"]["resourceVersion"] = json!(version);
        lease["spec"]["holderIdentity"] = json!("thief");
    }
}

#[tonic::async_trait]
impl Api for OneLease {
    async fn call(&self, request: Request<CallRequest>) -> Result<Response<CallResponse>, Status> {
        let (code, body) = match self.answer(request.get_ref()) {
            Ok(lease) => (200, lease.to_string().into_bytes()),
            Err(error) => (i32::from(error.code()), error.status().to_bytes()),
        };
        Ok(Response::new(CallResponse { code, body: Bytes::from(body), warnings: Vec::new() }))
    }

    type WatchStream = tokio_stream::Empty<Result<WatchResponse, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::failed_precondition("no watches here"))
    }
}

async fn serve(lease: OneLease) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(ApiServer::new(lease));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    address
}

fn options(identity: &str) -> LeaderOptions {
    LeaderOptions { retry_period: Duration::from_millis(10), ..LeaderOptions::new("kube-system", "x", identity) }
}

#[tokio::test]
async fn one_leads_at_a_time_and_each_leadership_has_its_epoch() {
    let lease = OneLease::default();
    let address = serve(lease.clone()).await;
    let connection = ClientOptions { endpoints: vec![format!("http://{address}")], ..ClientOptions::default() };
    let client = Client::new(connection).unwrap();
    let shutdown = Shutdown::new();

    let first = leader::acquire(&client, options("first"), &shutdown).await.unwrap();
    assert_eq!((first.guard().holder.as_str(), first.guard().transitions), ("first", 0));

    let waiting = Shutdown::new();
    let candidate = leader::acquire(&client, options("impatient"), &waiting);
    waiting.begin();
    assert!(candidate.await.is_none(), "the lease is held");

    first.release().await;
    let second = leader::acquire(&client, options("second"), &shutdown).await.unwrap();
    assert_eq!((second.guard().holder.as_str(), second.guard().transitions), ("second", 1));

    lease.seize();
    second.shutdown().begun().await;
    assert!(!shutdown.has_begun(), "a lost leadership ends what leads, not the process");
}
