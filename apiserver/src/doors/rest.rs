//! The REST door: HTTPS with HTTP/1.1 and HTTP/2, client certificates optional.

use std::{any::Any, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer,
    dev::{Extensions, ServerHandle},
    http::{Method, header},
    web,
};
use keelson_objects::{openapi::Documents, status::StatusError};
use keelson_process::{Process, identity::Identity};

use super::{
    accept, body,
    discovery::{Discovery, header_text},
    openapi, path, query,
    respond::{self, Form},
    views,
};
use crate::{
    authentication::{Authenticator, Credentials, User},
    pipeline::{Body, Pipeline, Request},
    registry::{Action, Verb},
};

/// Connections at once, of each worker.
const CONNECTIONS: usize = 20_000;
/// The version of the API that is served.
const KUBERNETES: &str = "v1.36.0";
/// What is read of a body that nobody wants, so that the connection can go on.
const UNREAD: usize = 256 * 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(180);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// What every worker shares.
struct Door {
    pipeline: Arc<Pipeline>,
    discovery: Discovery,
    documents: Arc<Documents>,
    process: Process,
    version: bytes::Bytes,
}

/// The user of a connection's client certificate, worked out when it was accepted.
struct CertificateUser(Arc<User>);

/// Binds and serves in the background. The handle stops it.
pub fn serve(
    address: SocketAddr,
    tls: rustls::ServerConfig,
    pipeline: Arc<Pipeline>,
    process: Process,
    workers: usize,
) -> std::io::Result<(SocketAddr, ServerHandle)> {
    let settings = &pipeline.settings;
    let discovery =
        Discovery::new(&pipeline.registry, &format!("{}:{}", settings.advertise_address, settings.secure_port));
    let git_version = format!("{KUBERNETES}+keelson-{}", process.version);
    let documents = openapi::documents(&pipeline.registry, &git_version);
    let version = version_document(&git_version);
    let door = web::Data::new(Door { pipeline, discovery, documents, process, version });
    let app = move || App::new().app_data(door.clone()).default_service(web::to(handle));
    let server = HttpServer::new(app)
        .workers(workers)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(HEADER_TIMEOUT)
        .max_connections(CONNECTIONS)
        .tcp_nodelay(true)
        .disable_signals()
        .shutdown_timeout(2)
        .on_connect(note_certificate)
        .bind_rustls_0_23(address, tls)?;
    let bound = server.addrs().first().copied().unwrap_or(address);
    let running = server.run();
    let handle = running.handle();
    tokio::spawn(running);
    Ok((bound, handle))
}

fn note_certificate(connection: &dyn Any, extensions: &mut Extensions) {
    type Stream = actix_tls::accept::rustls_0_23::TlsStream<actix_web::rt::net::TcpStream>;
    let Some(stream) = connection.downcast_ref::<Stream>() else { return };
    let Some([certificate, ..]) = stream.get_ref().1.peer_certificates() else { return };
    if let Some(identity) = Identity::of_certificate(certificate) {
        extensions.insert(CertificateUser(Authenticator::certificate_user(identity)));
    }
}

async fn handle(http: HttpRequest, payload: web::Payload, door: web::Data<Door>) -> HttpResponse {
    match path::parse(http.path()) {
        Some(_) => resource(http, payload, &door).await,
        None => other(&http, &door).await,
    }
}

async fn authenticate(http: &HttpRequest, door: &Door) -> Result<Arc<User>, StatusError> {
    let certificate = http.conn_data::<CertificateUser>().map(|user| &user.0);
    let bearer = header_text(http, header::AUTHORIZATION).strip_prefix("Bearer ").map(str::trim);
    let pipeline = &door.pipeline;
    let credentials = Credentials { certificate, bearer };
    pipeline
        .authenticator
        .authenticate(credentials, &pipeline.registry, &pipeline.cache, &pipeline.store)
        .await
        .ok_or_else(|| StatusError::unauthorized(""))
}

fn form(http: &HttpRequest, query: &query::Query) -> Result<Form, StatusError> {
    let accepted = accept::negotiate(header_text(http, header::ACCEPT))?;
    let include = views::include_object(&query.include_object)?;
    let agent = header_text(http, header::USER_AGENT);
    let by_hand = ["curl", "Wget", "Mozilla/5.0"].iter().any(|browser| agent.starts_with(browser));
    let gzip = header_text(http, header::ACCEPT_ENCODING).split(',').any(|coding| coding.trim().starts_with("gzip"));
    let asked = http.query_string().contains("pretty=");
    Ok(Form { accepted, include, pretty: query.pretty || (by_hand && !asked), gzip })
}

async fn resource(http: HttpRequest, payload: web::Payload, door: &Door) -> HttpResponse {
    let mut payload = Some(payload);
    let asked = query::parse(http.query_string()).and_then(|query| Ok((form(&http, &query)?, query)));
    let (form, result) = match asked {
        Ok((form, query)) => (form, try_resource(http, &mut payload, door, query, form).await),
        Err(failure) => (Form::PLAIN, Err(failure)),
    };
    match result {
        Ok(response) => response,
        Err(failure) => {
            if let Some(payload) = &mut payload {
                body::drain(payload, UNREAD).await;
            }
            respond::error(&failure, form)
        }
    }
}

async fn try_resource(
    http: HttpRequest,
    payload: &mut Option<web::Payload>,
    door: &Door,
    query: query::Query,
    form: Form,
) -> Result<HttpResponse, StatusError> {
    let user = authenticate(&http, door).await?;
    let pipeline = &door.pipeline;
    let Some(target) = path::parse(http.path()) else { return Ok(not_found()) };
    let Some(kind) = pipeline.registry.find(&target.group, &target.version, &target.resource).cloned() else {
        pipeline.authorize_path(&user, &http.method().as_str().to_ascii_lowercase(), http.path())?;
        return Ok(not_found());
    };
    if !kind.namespaced() && !target.namespace.is_empty() {
        return Ok(not_found());
    }
    let verb = verb_of(http.method(), &target, &query)?;
    if kind.namespaced()
        && target.namespace.is_empty()
        && !(target.name.is_empty() && matches!(verb, Verb::List | Verb::Watch))
    {
        return Err(StatusError::method_not_allowed());
    }
    let connect = match kind.find_subresource(&target.subresource).map(|subresource| &subresource.action) {
        Some(Action::Connect(connect)) => Some(connect.clone()),
        _ => None,
    };
    let mut request = Request {
        user,
        verb,
        namespace: target.namespace.into_owned(),
        name: target.name.into_owned(),
        subresource: target.subresource.into_owned(),
        rest: target.rest.into_owned(),
        kind: kind.clone(),
        options: query.options,
        body: Body::default(),
        guard: None,
        traceparent: http.headers().get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned),
        user_agent: header_text(&http, header::USER_AGENT).to_owned(),
    };
    if let Some(connect) = connect
        && let Some(payload) = payload.take()
    {
        pipeline.authorize(&request)?;
        return connect.connect(&pipeline.cluster(), request, http, payload).await;
    }
    if matches!(http.method(), &Method::POST | &Method::PUT | &Method::PATCH | &Method::DELETE) {
        let length = header_text(&http, header::CONTENT_LENGTH).parse().ok();
        if let Some(payload) = payload {
            request.body.bytes = body::read(payload, length).await?;
        }
        let content_type = header_text(&http, header::CONTENT_TYPE);
        request.body.content_type = content_type.split(';').next().unwrap_or_default().trim().to_owned();
    }
    let answer = pipeline.handle(request).await?;
    Ok(respond::answer(&kind, answer, form))
}

fn verb_of(method: &Method, target: &path::ResourcePath<'_>, query: &query::Query) -> Result<Verb, StatusError> {
    let named = !target.name.is_empty();
    Ok(match *method {
        Method::GET if target.subresource.is_empty() && (query.watch || target.watch) => Verb::Watch,
        Method::GET if named => Verb::Get,
        Method::GET => Verb::List,
        Method::POST if !named || !target.subresource.is_empty() => Verb::Create,
        Method::PUT if named => Verb::Update,
        Method::PATCH if named => Verb::Patch,
        Method::DELETE if named => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return Err(StatusError::method_not_allowed()),
    })
}

fn not_found() -> HttpResponse {
    HttpResponse::NotFound()
        .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
        .body("404 page not found\n")
}

/// Paths that are no resources: health, version, discovery, schemas, metrics.
async fn other(http: &HttpRequest, door: &Door) -> HttpResponse {
    let path = http.path();
    let user = authenticate(http, door).await;
    let public = matches!(path.split('/').nth(1), Some("healthz" | "livez" | "readyz" | "version"));
    let user = match (user, public) {
        (Ok(user), _) => user,
        (Err(_), true) => Arc::new(User::new("system:anonymous", &[User::UNAUTHENTICATED])),
        (Err(failure), false) => return respond::error(&failure, Form::PLAIN),
    };
    let method = http.method().as_str().to_ascii_lowercase();
    if let Err(failure) = door.pipeline.authorize_path(&user, &method, path) {
        return respond::error(&failure, Form::PLAIN);
    }
    if !matches!(http.method(), &Method::GET | &Method::HEAD) {
        return respond::error(&StatusError::method_not_allowed(), Form::PLAIN);
    }
    match path.trim_end_matches('/') {
        "" => paths(door),
        "/version" => HttpResponse::Ok().content_type("application/json").body(door.version.clone()),
        "/metrics" => HttpResponse::Ok()
            .content_type("application/openmetrics-text; version=1.0.0; charset=utf-8")
            .body(door.process.metrics.text()),
        "/healthz" | "/livez" | "/readyz" => health(http, door),
        _ => match door.discovery.respond(http) {
            Some(response) => response,
            None => openapi::respond(http, &door.documents).await.unwrap_or_else(not_found),
        },
    }
}

fn health(http: &HttpRequest, door: &Door) -> HttpResponse {
    let verbose = query::pairs(http.query_string()).any(|(name, _)| name == "verbose");
    let endpoint = http.path().trim_matches('/');
    let (code, text) = door.process.health.report(endpoint, verbose);
    let code = actix_web::http::StatusCode::from_u16(code.as_u16())
        .unwrap_or(actix_web::http::StatusCode::INTERNAL_SERVER_ERROR);
    HttpResponse::build(code).content_type("text/plain; charset=utf-8").body(text)
}

fn paths(door: &Door) -> HttpResponse {
    let mut paths: Vec<String> =
        ["/api", "/apis", "/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
            .iter()
            .map(|path| (*path).to_owned())
            .collect();
    for kind in door.pipeline.registry.kinds() {
        let root = if kind.group.is_empty() { "/api" } else { "/apis" };
        paths.push(format!("{root}/{}", kind.api_version()));
    }
    paths.sort();
    paths.dedup();
    HttpResponse::Ok().json(serde_json::json!({ "paths": paths }))
}

fn version_document(git_version: &str) -> bytes::Bytes {
    let document = serde_json::json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": git_version,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
    });
    serde_json::to_vec_pretty(&document).expect("a JSON value always serializes").into()
}
