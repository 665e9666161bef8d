//! A real API server in this process, over a real store (etcd from PATH, or what KEELSON_TEST_STORE names), with
//! certificates of its own; and a small REST client that speaks to it as kubectl does.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use apiserver::{Addresses, Options};
use clap::Parser;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use keelson_process::{Process, Shutdown, identity::TlsFiles};
use keelson_wire::api::api_client::ApiClient;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Identity};

pub const ADMIN: &str = "admin-token";
pub const NOBODY: &str = "nobody-token";

/// Ends the server and the store when it is dropped.
pub struct Cluster {
    pub addresses: Addresses,
    pub directory: TempDir,
    endpoint: String,
    store: Child,
    shutdown: Shutdown,
    server: Option<std::thread::JoinHandle<()>>,
    tls: Arc<rustls::ClientConfig>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end_server();
        let _ = self.store.kill();
        let _ = self.store.wait();
    }
}

/// The next free port of [`own_loopback`].
static NEXT_PORT: AtomicU16 = AtomicU16::new(2379);

/// A loopback address that is this process' alone. A port found free on 127.0.0.1 may be the source port of somebody's
/// connection by the time it is bound (source addresses are 127.0.0.1), or be found by a second process too.
fn own_loopback() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 63), middle, low)
}

fn start_store(directory: &TempDir) -> (Child, String) {
    let binary = std::env::var("KEELSON_TEST_STORE").unwrap_or_else(|_| "etcd".to_owned());
    let port = NEXT_PORT.fetch_add(2, Ordering::Relaxed);
    let url = |port: u16| format!("http://{}:{port}", own_loopback());
    let (client, peer) = (url(port), url(port + 1));
    let data = directory.path().join("store");
    let log = std::fs::File::create(directory.path().join("store.log")).expect("a log file");
    let child = Command::new(&binary)
        .args(["--name", "test", "--data-dir"])
        .arg(&data)
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("test={peer}")])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start the store {binary:?} (Debian: etcd-server): {error}"));
    (child, client)
}

fn write_identities(directory: &TempDir) {
    let write =
        |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a writable directory");
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    write("ca.crt", &ca.self_signed(&ca_key).expect("self-signed").pem());
    let issuer = rcgen::Issuer::new(ca, ca_key);
    for (file, name, organization) in [
        ("server", "kube-apiserver", ""),
        ("admin", "kubernetes-admin", "system:masters"),
        ("kcm", "system:kube-controller-manager", ""),
    ] {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut parameters = rcgen::CertificateParams::new(names).expect("parameters");
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        if !organization.is_empty() {
            parameters.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
        }
        write(&format!("{file}.crt"), &parameters.signed_by(&key, &issuer).expect("signed").pem());
        write(&format!("{file}.key"), &key.serialize_pem());
    }
    write("sa.key", &rcgen::KeyPair::generate().expect("a key").serialize_pem());
    write("tokens.csv", &format!("{ADMIN},admin,1,\"system:masters\"\n{NOBODY},nobody,2\n"));
}

/// A server in a thread of its own; comes back when it listens.
async fn serve(directory: &TempDir, endpoint: &str, shutdown: &Shutdown) -> (Addresses, std::thread::JoinHandle<()>) {
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let options = Options::parse_from([
        "apiserver",
        "--etcd-servers",
        endpoint,
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        "--grpc-port=0",
        "--advertise-address=127.0.0.1",
        "--tls-cert-file",
        &file("server.crt"),
        "--tls-private-key-file",
        &file("server.key"),
        "--client-ca-file",
        &file("ca.crt"),
        "--service-account-signing-key-file",
        &file("sa.key"),
        "--token-auth-file",
        &file("tokens.csv"),
    ]);
    let (told, addresses) = tokio::sync::oneshot::channel();
    let shutdown = shutdown.clone();
    let server = std::thread::spawn(move || {
        let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let system = actix::System::with_tokio_rt(|| runtime().expect("a runtime"));
        system.block_on(async move {
            let process = Process::within_system("apiserver", shutdown);
            let listening = |addresses| {
                let _ = told.send(addresses);
            };
            apiserver::run_with(options, process, listening).await.expect("the server runs");
        });
    });
    let addresses = tokio::time::timeout(Duration::from_secs(60), addresses)
        .await
        .expect("the server listens within a minute")
        .expect("the server listens");
    (addresses, server)
}

impl Cluster {
    /// Comes back when the server is ready.
    pub async fn start() -> Cluster {
        let directory = TempDir::new().expect("a temporary directory");
        write_identities(&directory);
        let (store, endpoint) = start_store(&directory);
        let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let admin = TlsFiles::new(file("ca.crt"), file("admin.crt"), file("admin.key"));
        let tls = Arc::new(admin.client_config().expect("a client configuration"));
        let shutdown = Shutdown::new();
        let (addresses, server) = serve(&directory, &endpoint, &shutdown).await;
        let cluster = Cluster { addresses, directory, endpoint, store, shutdown, server: Some(server), tls };
        cluster.until_ready().await;
        cluster
    }

    /// Ends the server in order and starts another on the same store, at other ports.
    pub async fn restart(&mut self) {
        self.end_server();
        self.shutdown = Shutdown::new();
        let (addresses, server) = serve(&self.directory, &self.endpoint, &self.shutdown).await;
        (self.addresses, self.server) = (addresses, Some(server));
        self.until_ready().await;
    }

    fn end_server(&mut self) {
        self.shutdown.begin();
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }

    async fn until_ready(&self) {
        let mut client = self.rest(ADMIN).await;
        loop {
            if client.send(Method::GET, "/readyz", &[], "").await.0 == StatusCode::OK {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A connection with a bearer token; the empty token shows the admin's certificate instead.
    pub async fn rest(&self, token: &str) -> Rest {
        let address: SocketAddr = self.addresses.rest;
        let tls = if token.is_empty() { self.tls.clone() } else { self.anonymous_tls() };
        let stream = TcpStream::connect(address).await.expect("a connection");
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        let stream = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await.expect("TLS");
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        Rest { sender, token: token.to_owned() }
    }

    fn anonymous_tls(&self) -> Arc<rustls::ClientConfig> {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        let ca = CertificateDer::from_pem_file(self.directory.path().join("ca.crt")).expect("the CA");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca).expect("a CA");
        Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
    }

    /// The gRPC door with the identity of `file` (admin, kcm).
    pub async fn grpc(&self, file: &str) -> ApiClient<Channel> {
        let read = |name: String| std::fs::read(self.directory.path().join(name)).expect("an identity");
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read("ca.crt".to_owned())))
            .identity(Identity::from_pem(read(format!("{file}.crt")), read(format!("{file}.key"))));
        let url = format!("https://localhost:{}", self.addresses.grpc.port());
        let endpoint = Channel::from_shared(url).expect("a URL").tls_config(tls).expect("TLS");
        ApiClient::new(endpoint.connect().await.expect("a connection"))
    }
}

pub struct Rest {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    token: String,
}

impl Rest {
    pub async fn open(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> hyper::Response<Incoming> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if !self.token.is_empty() {
            request = request.header("authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request");
        self.sender.ready().await.expect("an open connection");
        self.sender.send_request(request).await.expect("an answer")
    }

    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, http::HeaderMap, Bytes) {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        (parts.status, parts.headers, body.collect().await.expect("a body").to_bytes())
    }

    /// JSON there and back.
    pub async fn json(&mut self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, _, bytes) = self.send(method, path, &[("content-type", content_type)], &text).await;
        (status.as_u16(), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

/// A watch, event by event.
pub struct Events {
    body: Incoming,
    rest: Vec<u8>,
}

impl Events {
    pub fn new(body: Incoming) -> Events {
        Events { body, rest: Vec::new() }
    }

    /// The next event; None when the stream ended. A minute without one is a failure.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("an event in JSON"));
            }
            let frame =
                tokio::time::timeout(Duration::from_secs(60), self.body.frame()).await.expect("an event in a minute");
            match frame?.expect("an open stream").into_data() {
                Ok(data) => self.rest.extend_from_slice(&data),
                Err(_) => return None,
            }
        }
    }
}
