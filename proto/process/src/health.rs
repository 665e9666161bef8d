//! `/healthz`, `/livez`, `/readyz` and `/metrics`.
//!
//! A process is live while its runtime answers; it is ready when each of its named checks is. A check starts as
//! failed ("not started yet"), so that nothing is ready by having been forgotten.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::Shutdown;
use crate::metrics::Metrics;

/// Connections to the health door that are served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTION_TIME: Duration = Duration::from_secs(60);

type Checks = Arc<RwLock<BTreeMap<String, Result<(), String>>>>;

/// The process' checks. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    checks: Checks,
    metrics: Metrics,
}

/// One named check. Dropping it leaves its last state.
#[derive(Clone)]
pub struct HealthCheck {
    name: String,
    checks: Checks,
}

impl Health {
    pub fn new(metrics: Metrics) -> Self {
        Self { checks: Checks::default(), metrics }
    }

    /// Adds a check by name; it fails until it is set.
    pub fn check(&self, name: impl Into<String>) -> HealthCheck {
        let name = name.into();
        self.checks.write().insert(name.clone(), Err("not started yet".to_owned()));
        HealthCheck { name, checks: self.checks.clone() }
    }

    /// The names of the checks that fail, with their reasons.
    pub fn failures(&self) -> Vec<(String, String)> {
        let checks = self.checks.read();
        checks.iter().filter_map(|(name, state)| Some((name.clone(), state.as_ref().err()?.clone()))).collect()
    }

    pub fn is_ready(&self) -> bool {
        self.checks.read().values().all(Result::is_ok)
    }

    /// The answer to `/readyz` (or `/healthz`, `/livez`) in upstream's form: one line a check when asked or when one fails.
    pub fn report(&self, endpoint: &str, verbose: bool) -> (StatusCode, String) {
        let checks = self.checks.read();
        let live_only = endpoint != "readyz";
        let ready = live_only || checks.values().all(Result::is_ok);
        if ready && !verbose {
            return (StatusCode::OK, "ok".to_owned());
        }
        let mut text = String::from("[+]ping ok\n");
        for (name, state) in checks.iter().filter(|_| !live_only) {
            let _ = match state {
                Ok(()) => writeln!(text, "[+]{name} ok"),
                Err(reason) => writeln!(text, "[-]{name} failed: {reason}"),
            };
        }
        let _ = writeln!(text, "{endpoint} check {}", if ready { "passed" } else { "failed" });
        (if ready { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }, text)
    }

    /// Serves the endpoints at `address` until the shutdown, over TLS if a configuration is given. Returns the bound
    /// address at once; serving goes on in the background.
    pub async fn serve(
        &self,
        address: SocketAddr,
        tls: Option<rustls::ServerConfig>,
        shutdown: Shutdown,
    ) -> std::io::Result<SocketAddr> {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        let acceptor = tls.map(|configuration| TlsAcceptor::from(Arc::new(configuration)));
        let health = self.clone();
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(CONNECTIONS));
            loop {
                let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
                let stream = tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => stream,
                        Err(error) => {
                            tracing::warn!(%error, "health door cannot accept");
                            tokio::time::sleep(Duration::from_millis(100)).await;
                            continue;
                        }
                    },
                    () = shutdown.begun() => return,
                };
                let health = health.clone();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let _slot = slot;
                    // A peer that breaks off is its own affair.
                    let _ = tokio::time::timeout(CONNECTION_TIME, health.converse(stream, acceptor)).await;
                });
            }
        });
        Ok(bound)
    }

    async fn converse(
        self,
        stream: tokio::net::TcpStream,
        acceptor: Option<TlsAcceptor>,
    ) -> Result<(), crate::BoxError> {
        let service = service_fn(|request| {
            let response = self.answer(&request);
            async move { Ok::<_, Infallible>(response) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(16 * 1024);
        match acceptor {
            Some(acceptor) => http.serve_connection(TokioIo::new(acceptor.accept(stream).await?), service).await?,
            None => http.serve_connection(TokioIo::new(stream), service).await?,
        }
        Ok(())
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<String> {
        let verbose = request
            .uri()
            .query()
            .is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
        let (code, text) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => self.report("healthz", verbose),
            (&Method::GET | &Method::HEAD, "/livez") => self.report("livez", verbose),
            (&Method::GET | &Method::HEAD, "/readyz") => self.report("readyz", verbose),
            (&Method::GET | &Method::HEAD, "/metrics") => (StatusCode::OK, self.metrics.text()),
            _ => (StatusCode::NOT_FOUND, "not found: try /healthz, /livez, /readyz or /metrics\n".to_owned()),
        };
        Response::builder()
            .status(code)
            .header(http::header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(text)
            .expect("a status and a constant header make a response")
    }
}

impl HealthCheck {
    pub fn set_ok(&self) {
        self.set(Ok(()));
    }

    pub fn set_failed(&self, reason: impl Into<String>) {
        self.set(Err(reason.into()));
    }

    fn set(&self, state: Result<(), String>) {
        self.checks.write().insert(self.name.clone(), state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_means_every_check_and_live_means_any_answer() {
        let health = Health::new(Metrics::new("test"));
        let store = health.check("store");
        assert_eq!(health.report("readyz", false).0, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(health.report("readyz", false).1.contains("[-]store failed: not started yet"));
        assert_eq!(health.report("livez", false), (StatusCode::OK, "ok".to_owned()));
        store.set_ok();
        assert_eq!(health.report("readyz", false), (StatusCode::OK, "ok".to_owned()));
        assert_eq!(health.report("readyz", true).1, "[+]ping ok\n[+]store ok\nreadyz check passed\n");
    }
}
