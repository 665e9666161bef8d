//! Follows the nodes: our own for its pod CIDR, the others for the routes to them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use keelson_client::informer::Informer;
use keelson_process::BoxError;
use tokio::sync::Notify;

use super::{cni_config, routes};
use crate::context::Context;

const RETRY: Duration = Duration::from_secs(5);

/// Where the CNI configuration belongs.
#[derive(Clone, Debug)]
pub struct Network {
    pub cni_conf_dir: PathBuf,
    pub bridge: String,
    /// Where the addresses that are given out are written down.
    pub addresses: PathBuf,
}

/// Runs until the process stops. `changed` is notified when the node's network has become ready or otherwise.
pub async fn run(
    context: Context,
    nodes: Informer<Node>,
    network: Network,
    changed: Arc<Notify>,
) -> Result<(), BoxError> {
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap_or_else(
        |error| tracing::warn!(%error, "cannot switch IP forwarding on: pods reach their own node only"),
    );
    let mut programmer = routes::Programmer::start().await?;
    let mut changes = nodes.subscribe();
    loop {
        if nodes.has_synced() {
            configure(&context, &nodes, &network, &changed);
        }
        let store = nodes.store();
        let wanted =
            routes::wanted(&context.node.name, &context.node.ips, store.values().map(|node| -> &Node { node }));
        // Before the first full state, routes of an earlier agent are left alone.
        let outcome = if nodes.has_synced() { programmer.apply(&wanted).await } else { Ok(()) };
        let retry = outcome.is_err();
        if let Err(error) = outcome {
            tracing::warn!(%error, "pods of other nodes may not be reachable");
        }
        tokio::select! {
            batch = changes.batch() => if batch.is_none() { return Ok(()) },
            synced = nodes.synced(), if !nodes.has_synced() => if !synced { return Ok(()) },
            () = tokio::time::sleep(RETRY), if retry => {}
            () = context.process.shutdown.begun() => return Ok(()),
        }
    }
}

fn configure(context: &Context, nodes: &Informer<Node>, network: &Network, changed: &Notify) {
    let own = nodes.get("", &context.node.name);
    let cidr = own.as_ref().and_then(|node| node.spec.as_ref()).and_then(|spec| spec.pod_cidr.as_deref());
    let Some(cidr) = cidr.filter(|cidr| !cidr.is_empty()) else { return };
    match cni_config::ensure(&network.cni_conf_dir, &network.bridge, cidr, &network.addresses) {
        Ok(None) => {}
        Ok(Some(path)) => {
            tracing::info!(path = %path.display(), cidr, "wrote the CNI configuration");
            changed.notify_one();
        }
        Err(error) => {
            tracing::warn!(%error, directory = %network.cni_conf_dir.display(), "cannot write the CNI configuration")
        }
    }
}
