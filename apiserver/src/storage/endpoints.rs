//! Where the store is: a list of endpoints, tried in turn from the one that worked last.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use keelson_process::FileStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tower::service_fn;

use super::Error;

/// `--etcd-cafile`, `--etcd-certfile` and `--etcd-keyfile`.
#[derive(Debug, Clone, Default)]
pub struct StoreTls {
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

pub struct Endpoints {
    /// With their URLs as they were given.
    endpoints: Vec<(String, Endpoint)>,
    current: AtomicUsize,
}

/// A connection, and to which of the endpoints it goes.
pub struct Connection {
    pub channel: Channel,
    pub endpoint: usize,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("no store endpoint is given: set --etcd-servers")]
    Empty,
    #[error("store endpoint {0:?} is no URL: {1}")]
    Url(String, tonic::transport::Error),
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("TLS for the store cannot be set up: {0}")]
    Tls(tonic::transport::Error),
}

impl Endpoints {
    /// `servers` are URLs: `http://`, `https://` or, for a socket in the file system, `unix:///path`.
    pub fn new(servers: &[String], tls: &StoreTls) -> Result<Endpoints, ConfigurationError> {
        let mut endpoints = Vec::new();
        let tls = client_tls(tls)?;
        for server in servers.iter().map(|server| server.trim()).filter(|server| !server.is_empty()) {
            let mut endpoint = Endpoint::from_shared(server.to_owned())
                .map_err(|error| ConfigurationError::Url(server.to_owned(), error))?
                .connect_timeout(Duration::from_secs(2))
                .tcp_nodelay(true)
                .http2_keep_alive_interval(Duration::from_secs(10))
                .keep_alive_timeout(Duration::from_secs(5))
                .keep_alive_while_idle(true)
                .initial_stream_window_size(8 << 20)
                .initial_connection_window_size(16 << 20);
            if server.starts_with("https://") {
                endpoint = endpoint.tls_config(tls.clone()).map_err(ConfigurationError::Tls)?;
            }
            endpoints.push((server.to_owned(), endpoint));
        }
        if endpoints.is_empty() {
            return Err(ConfigurationError::Empty);
        }
        Ok(Endpoints { endpoints, current: AtomicUsize::new(0) })
    }

    /// A fresh connection to the first endpoint that accepts one, beginning with the one that worked last.
    pub async fn connect(&self) -> Result<Connection, Error> {
        let start = self.current.load(Ordering::Relaxed);
        let mut reasons = Vec::new();
        for step in 0..self.endpoints.len() {
            let endpoint = (start + step) % self.endpoints.len();
            let (url, target) = &self.endpoints[endpoint];
            match connect(url, target).await {
                Ok(channel) => {
                    self.current.store(endpoint, Ordering::Relaxed);
                    return Ok(Connection { channel, endpoint });
                }
                Err(error) => reasons.push(format!("{url}: {}", causes(&error))),
            }
        }
        Err(Error::Unreachable(reasons.join("; ")))
    }

    /// This endpoint misbehaves: begin with its neighbour next time. Several connections may find that out at once.
    pub fn pass_on(&self, endpoint: usize) {
        let next = (endpoint + 1) % self.endpoints.len();
        // Another has been chosen since.
        let _ = self.current.compare_exchange(endpoint, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

async fn connect(url: &str, target: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    let Some(path) = url.strip_prefix("unix://") else { return target.connect().await };
    let path = PathBuf::from(path);
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move { FileStream::connect(&path).await.map(TokioIo::new) }
    });
    target.connect_with_connector(connector).await
}

fn client_tls(tls: &StoreTls) -> Result<ClientTlsConfig, ConfigurationError> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|error| ConfigurationError::Read(path.clone(), error));
    let mut config = ClientTlsConfig::new();
    if let Some(ca) = &tls.ca {
        config = config.ca_certificate(Certificate::from_pem(read(ca)?));
    }
    if let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) {
        config = config.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(config)
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
