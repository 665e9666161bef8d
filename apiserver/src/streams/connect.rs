//! Calling a node's agent.

use std::time::Duration;

use keelson_objects::status::StatusError;
use keelson_wire::node::node_client::NodeClient;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use super::target;
use crate::cluster::Cluster;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// A connection of its own to the agent of `node`: streams are few and long, and none waits behind another.
pub async fn agent(cluster: &Cluster, node: &str) -> Result<NodeClient<Channel>, StatusError> {
    let Some(files) = &cluster.settings().node_client else {
        return Err(StatusError::internal(
            "this API server has no certificate for node agents (--kubelet-client-certificate)",
        ));
    };
    let entry = match cluster.cached("", "nodes", "", node) {
        Some(entry) => Some(entry),
        None => cluster.current("", "nodes", "", node).await?,
    };
    let Some(entry) = entry else { return Err(StatusError::internal(format!("nodes {node:?} not found"))) };
    let Some(url) = target::agent_url(&entry.value()?) else {
        return Err(StatusError::internal(format!("no preferred addresses found; known addresses of node {node}: []")));
    };
    let identity = files.load().map_err(StatusError::internal)?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&identity.ca))
        .identity(Identity::from_pem(&identity.certificate, &identity.key));
    let endpoint = Endpoint::from_shared(url.clone())
        .and_then(|endpoint| endpoint.tls_config(tls))
        .map_err(StatusError::internal)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    let channel = endpoint
        .connect()
        .await
        .map_err(|error| StatusError::internal(format!("error dialing backend: {url}: {}", causes(&error))))?;
    Ok(NodeClient::new(channel))
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// An agent's refusal as the API's. The agent words its messages as upstream's kubelet does.
pub fn refusal(status: &Status) -> StatusError {
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::NotFound | Code::OutOfRange => {
            StatusError::bad_request(status.message())
        }
        Code::ResourceExhausted => StatusError::too_many_requests(status.message(), 1),
        _ => StatusError::internal(status.message()),
    }
}
