//! The way to the API servers: one HTTP/2 connection to each, made when it is first needed, and a current one.
//!
//! A call that cannot reach the current API server tries the next and stays there. A read is simply repeated; a write
//! is repeated only if the connection could not be made, since otherwise it may have happened.

use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keelson_wire::api::api_client::ApiClient;
use keelson_wire::api::{CallRequest, CallResponse, Verb, WatchRequest, WatchResponse};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status, Streaming};

use crate::{ClientOptions, Error, trace};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A call that takes longer than the API server's own limit has lost its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(65);
/// A peer that answers no ping for this long is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest answer that is taken: a list of a big cluster.
const MAX_ANSWER: usize = 256 << 20;
/// A watcher that reads slowly holds at most this much of the connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

struct Server {
    name: String,
    client: ApiClient<Channel>,
}

pub(crate) struct Transport {
    servers: Vec<Server>,
    current: AtomicUsize,
}

impl Transport {
    /// Connects nothing yet. Must be called within a tokio runtime.
    pub(crate) fn new(options: &ClientOptions) -> Result<Transport, Error> {
        if options.endpoints.is_empty() {
            return Err(Error::Configuration("no endpoint is given".to_owned()));
        }
        let servers = options.endpoints.iter().map(|name| server(name, options)).collect::<Result<_, _>>()?;
        Ok(Transport { servers, current: AtomicUsize::new(0) })
    }

    fn current(&self) -> (usize, &Server) {
        let place = self.current.load(Ordering::Relaxed) % self.servers.len();
        (place, &self.servers[place])
    }

    /// Moves on from a server that failed, unless another call has done so.
    fn leave(&self, place: usize) {
        let next = (place + 1) % self.servers.len();
        let _ = self.current.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) async fn call(&self, call: CallRequest) -> Result<CallResponse, Error> {
        let reads = matches!(call.verb(), Verb::Get | Verb::List);
        let mut attempts_left = self.servers.len() + usize::from(reads);
        loop {
            let (place, server) = self.current();
            let mut request = Request::new(call.clone());
            request.set_timeout(CALL_TIMEOUT);
            trace::inject(request.metadata_mut());
            let status = match server.client.clone().call(request).await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => status,
            };
            if !is_lost(&status) {
                return Err(transport_error(server, &status));
            }
            self.leave(place);
            attempts_left -= 1;
            let repeatable = reads || never_connected(&status);
            if !repeatable || attempts_left == 0 {
                return Err(transport_error(server, &status));
            }
        }
    }

    pub(crate) async fn watch(&self, watch: WatchRequest) -> Result<Streaming<WatchResponse>, Error> {
        let (place, server) = self.current();
        let mut request = Request::new(watch);
        trace::inject(request.metadata_mut());
        match server.client.clone().watch(request).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => {
                if is_lost(&status) {
                    self.leave(place);
                }
                Err(transport_error(server, &status))
            }
        }
    }

    /// An open stream broke: the next one goes elsewhere if there is an elsewhere.
    pub(crate) fn stream_broke(&self, status: &Status) -> Error {
        let (place, server) = self.current();
        if is_lost(status) {
            self.leave(place);
        }
        transport_error(server, status)
    }
}

fn server(name: &str, options: &ClientOptions) -> Result<Server, Error> {
    let configuration = |error: &dyn std::fmt::Display| Error::Configuration(format!("endpoint {name}: {error}"));
    let mut endpoint = Endpoint::from_shared(name.to_owned())
        .and_then(|endpoint| endpoint.user_agent(options.user_agent.clone()))
        .map_err(|error| configuration(&error))?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    if name.starts_with("https://") {
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &options.ca {
            tls = tls.ca_certificate(Certificate::from_pem(ca));
        }
        if let (Some(certificate), Some(key)) = (&options.certificate, &options.key) {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(tls).map_err(|error| configuration(&error))?;
    }
    let client = ApiClient::new(endpoint.connect_lazy()).max_decoding_message_size(MAX_ANSWER);
    Ok(Server { name: name.to_owned(), client })
}

/// The server was not reached or went away, rather than refused.
fn is_lost(status: &Status) -> bool {
    use tonic::Code;
    matches!(
        status.code(),
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded | Code::Internal
    )
}

fn never_connected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn transport_error(server: &Server, status: &Status) -> Error {
    let mut message = format!("{}: {}", status.code(), status.message());
    let mut cause = status.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    Error::Transport { endpoint: server.name.clone(), message }
}
