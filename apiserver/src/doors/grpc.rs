//! The gRPC door: mutual TLS, for Keelson's own components. The same pipeline, and JSON inside the messages.

use std::{net::SocketAddr, path::Path, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use keelson_objects::status::StatusError;
use keelson_process::{
    Shutdown,
    identity::{Identity, TlsFiles},
};
use keelson_wire::api::{
    CallRequest, CallResponse, Options as WireOptions, Target, Verb as WireVerb, WatchEvent, WatchRequest,
    WatchResponse,
    api_server::{Api, ApiServer},
    watch_event,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request as Call, Response, Status,
    transport::{Certificate, Identity as TonicIdentity, Server, ServerTlsConfig},
};

use super::{body, discovery};
use crate::{
    authentication::{Authenticator, User},
    cache::{WatchItem, WatchStream},
    courtesy,
    pipeline::{Answer, BODY_LIMIT, Body, Content, LeaderGuard, Options, Pipeline, Request},
    registry::Verb,
};

/// Streams of one connection at once.
const STREAMS: u32 = 10_000;
/// A list can be larger than a request may.
const ANSWER_LIMIT: usize = 1 << 30;

/// Watches of one thread that are told within this time are told of the same event.
const SAME_EVENT: Duration = Duration::from_millis(1);

struct Door {
    pipeline: Arc<Pipeline>,
    /// The answer to a GET without a target.
    discovery: Bytes,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the gRPC door cannot listen at {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    #[error("the gRPC door cannot read {0}: {1}")]
    Read(std::path::PathBuf, std::io::Error),
    #[error("the gRPC door's TLS is not usable: {0}")]
    Tls(#[from] tonic::transport::Error),
}

/// Binds and serves in the background until the shutdown.
pub async fn serve(
    address: SocketAddr,
    tls: &TlsFiles,
    pipeline: Arc<Pipeline>,
    shutdown: Shutdown,
) -> Result<SocketAddr, Error> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| Error::Read(path.to_owned(), error));
    let config = ServerTlsConfig::new()
        .identity(TonicIdentity::from_pem(read(&tls.certificate)?, read(&tls.key)?))
        .client_ca_root(Certificate::from_pem(read(&tls.ca)?));
    let listener = TcpListener::bind(address).await.map_err(|error| Error::Bind(address, error))?;
    let bound = listener.local_addr().map_err(|error| Error::Bind(address, error))?;
    let discovery = discovery::everything(&pipeline.registry);
    let service = ApiServer::new(Door { pipeline, discovery })
        .max_decoding_message_size(2 * BODY_LIMIT)
        .max_encoding_message_size(ANSWER_LIMIT);
    let server = Server::builder()
        .tls_config(config)?
        .tcp_nodelay(true)
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .http2_keepalive_interval(Some(Duration::from_secs(15)))
        .add_service(service);
    tokio::spawn(async move {
        let ended = server.serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown.begun_owned()).await;
        if let Err(error) = ended {
            tracing::error!(%error, "the gRPC door failed");
            shutdown.fail(format!("the gRPC door failed: {error}"));
        }
    });
    Ok(bound)
}

impl Door {
    #[allow(clippy::result_large_err)]
    fn user<T>(&self, call: &Call<T>) -> Result<Arc<User>, Status> {
        let certificates = call.peer_certs();
        let leaf = certificates.as_ref().and_then(|certificates| certificates.first());
        let certificate = leaf.and_then(|leaf| Identity::of_certificate(leaf)).map(Authenticator::certificate_user);
        certificate.ok_or_else(|| Status::unauthenticated("a client certificate with a common name is required"))
    }

    /// The request, or the Status that a REST client would get for it.
    fn request(
        &self,
        user: Arc<User>,
        verb: Verb,
        target: Option<Target>,
        options: Option<WireOptions>,
    ) -> Result<Request, StatusError> {
        let target = target.ok_or_else(|| StatusError::bad_request("the request names no target"))?;
        let found = self.pipeline.registry.find(&target.group, &target.version, &target.resource);
        let kind = found.cloned().ok_or_else(StatusError::no_such_resource)?;
        let across = target.name.is_empty() && matches!(verb, Verb::List | Verb::Watch);
        if kind.namespaced() == target.namespace.is_empty() && !(kind.namespaced() && across) {
            return Err(StatusError::bad_request(format!(
                "{} need{} a namespace",
                kind.resource,
                if kind.namespaced() { "" } else { " not" }
            )));
        }
        let wire = options.unwrap_or_default();
        let options = Options {
            label_selector: wire.label_selector,
            field_selector: wire.field_selector,
            resource_version: wire.resource_version,
            resource_version_match: wire.resource_version_match,
            limit: wire.limit,
            continue_token: wire.continue_token,
            dry_run: wire.dry_run,
            field_manager: wire.field_manager,
            force: wire.force,
            field_validation: wire.field_validation,
            ..Options::default()
        };
        Ok(Request {
            user,
            verb,
            kind,
            subresource: target.subresource,
            namespace: target.namespace,
            name: target.name,
            rest: String::new(),
            options,
            body: Body::default(),
            guard: None,
            traceparent: None,
            user_agent: String::new(),
        })
    }

    async fn answer(
        &self,
        user: Arc<User>,
        call: CallRequest,
        traceparent: Option<String>,
    ) -> Result<Answer, StatusError> {
        let verb = match call.verb() {
            WireVerb::Get => Verb::Get,
            WireVerb::List => Verb::List,
            WireVerb::Create => Verb::Create,
            WireVerb::Update => Verb::Update,
            WireVerb::Patch => Verb::Patch,
            WireVerb::Delete => Verb::Delete,
            WireVerb::DeleteCollection => Verb::DeleteCollection,
            WireVerb::Unspecified => return Err(StatusError::bad_request("the request names no verb")),
        };
        let mut request = self.request(user, verb, call.target, call.options)?;
        if call.body.len() > BODY_LIMIT {
            return Err(StatusError::request_entity_too_large(format!("limit is {BODY_LIMIT}")));
        }
        request.body = Body { bytes: call.body, content_type: call.content_type };
        request.traceparent = traceparent;
        request.guard = call.guard.map(|guard| LeaderGuard {
            namespace: guard.namespace,
            name: guard.name,
            holder: guard.holder,
            transitions: i64::from(guard.transitions),
        });
        self.pipeline.handle(request).await
    }
}

fn metadata_text<T>(call: &Call<T>, key: &str) -> Option<String> {
    call.metadata().get(key).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// Whoever is authenticated may know what is served.
fn asks_for_discovery(call: &CallRequest) -> bool {
    call.verb() == WireVerb::Get && call.target.as_ref().is_some_and(|target| *target == Target::default())
}

fn failure(error: &StatusError) -> CallResponse {
    CallResponse { code: i32::from(error.code()), body: error.status().to_bytes().into(), warnings: Vec::new() }
}

#[tonic::async_trait]
impl Api for Door {
    async fn call(&self, call: Call<CallRequest>) -> Result<Response<CallResponse>, Status> {
        let user = self.user(&call)?;
        let traceparent = metadata_text(&call, "traceparent");
        if asks_for_discovery(call.get_ref()) {
            return Ok(Response::new(CallResponse { code: 200, body: self.discovery.clone(), warnings: Vec::new() }));
        }
        let response = match self.answer(user, call.into_inner(), traceparent).await {
            Ok(answer) => {
                let body = match answer.content {
                    Content::Object(json) => json,
                    Content::List(listing) => body::whole_list(&listing),
                    Content::Watch(_) => Bytes::new(),
                };
                CallResponse { code: i32::from(answer.code), body, warnings: answer.warnings }
            }
            Err(error) => failure(&error),
        };
        Ok(Response::new(response))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, call: Call<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let user = self.user(&call)?;
        let watch = call.into_inner();
        let opened = async {
            let mut request = self.request(user, Verb::Watch, watch.target, watch.options)?;
            let options = &mut request.options;
            options.allow_watch_bookmarks = watch.allow_bookmarks;
            options.timeout_seconds = watch.timeout_seconds;
            if watch.send_initial_events {
                options.send_initial_events = Some(true);
                // The end of the initial state is a bookmark, so asking for one is asking for the other.
                options.allow_watch_bookmarks = true;
                if options.resource_version_match.is_empty() {
                    options.resource_version_match = "NotOlderThan".to_owned();
                }
            }
            match self.pipeline.handle(request).await?.content {
                Content::Watch(stream) => Ok(stream),
                _ => Err(StatusError::internal("a watch was answered with an object")),
            }
        };
        let events: Self::WatchStream = match opened.await {
            Ok(watch) => Box::pin(stream::unfold(watch, |mut watch: Box<WatchStream>| async move {
                let items = watch.next().await?;
                // The workers of the other door, which have most to do.
                courtesy::give_way(SAME_EVENT);
                let events = items.iter().map(event).collect();
                Some((Ok(WatchResponse { events }), watch))
            })),
            Err(error) => {
                let object = Bytes::from(error.status().to_bytes());
                let events = vec![WatchEvent { r#type: watch_event::Type::Error.into(), object }];
                Box::pin(stream::once(async move { Ok(WatchResponse { events }) }))
            }
        };
        Ok(Response::new(events))
    }
}

fn event(item: &WatchItem) -> WatchEvent {
    let kind = match item.kind() {
        "ADDED" => watch_event::Type::Added,
        "MODIFIED" => watch_event::Type::Modified,
        "DELETED" => watch_event::Type::Deleted,
        "BOOKMARK" => watch_event::Type::Bookmark,
        _ => watch_event::Type::Error,
    };
    WatchEvent { r#type: kind.into(), object: item.object() }
}
