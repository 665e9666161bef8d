//! The agent's gRPC door (keelson.node.v1): logs, exec, attach and port-forward for the API server, and nobody else.

mod exec;
mod log_format;
mod log_tail;
mod logs;
mod port_forward;
mod service;
mod tls;
mod watch_file;

use std::net::SocketAddr;

use futures::future::BoxFuture;
use keelson_process::BoxError;
use keelson_process::identity::{self, ClientAuth, TlsFiles};
use keelson_wire::node::node_server::NodeServer;
use tokio::net::TcpListener;
use tonic::transport::Server;

use crate::context::Context;
use crate::pods::dispatcher::Directory;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen at {address}: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Identity(#[from] identity::Error),
}

/// Streams of one connection at once.
const STREAMS: u32 = 256;

/// Opens the door; the future serves until the process stops.
pub async fn open(
    context: Context,
    directory: Directory,
    address: SocketAddr,
    files: &TlsFiles,
) -> Result<BoxFuture<'static, Result<(), BoxError>>, Error> {
    let mut configuration = files.server_config(ClientAuth::Required)?;
    configuration.alpn_protocols = vec![b"h2".to_vec()];
    let listener = TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
    let shutdown = context.process.shutdown.clone();
    let connections = tls::accept(listener, configuration, shutdown.clone());
    let service = NodeServer::with_interceptor(service::NodeService { context, directory }, tls::only_api_servers);
    Ok(Box::pin(async move {
        Server::builder()
            .max_concurrent_streams(STREAMS)
            .http2_keepalive_interval(Some(std::time::Duration::from_secs(30)))
            .add_service(service)
            .serve_with_incoming_shutdown(connections, shutdown.begun_owned())
            .await?;
        Ok(())
    }))
}
