//! The cluster's API, as the operator's identity sees it.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, NodeCondition};
use keelson_client::{Client, ListOptions};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::plan;
use crate::supervisor::Record;

const PATIENCE: Duration = Duration::from_millis(100);

pub fn client(layout: &Layout) -> Result<Client> {
    let path = layout.kubeconfig("operator");
    Client::from_kubeconfig(&path, concat!("keelson/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| Error::tried(format!("use {}", path.display()), error))
}

/// The nodes, or why they cannot be listed.
pub async fn nodes(client: &Client) -> Result<Vec<Node>> {
    let listed = client.all::<Node>().list(&ListOptions::default()).await;
    listed.map(|list| list.items).map_err(|error| Error::tried("list the nodes", error))
}

/// Waits until the API server answers.
pub async fn wait_until_served(client: &Client, limit: Duration, logs: &str) -> Result<()> {
    let mut last = String::from("no answer");
    let answered = async {
        loop {
            match tokio::time::timeout(Duration::from_secs(2), nodes(client)).await {
                Ok(Ok(_)) => return,
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = "no answer".to_owned(),
            }
            tokio::time::sleep(PATIENCE).await;
        }
    };
    let in_time = tokio::time::timeout(limit, answered).await.is_ok();
    if in_time {
        return Ok(());
    }
    Err(Error::new(format!("the API server does not answer after {} s: {last}", limit.as_secs()))
        .hint(format!("look into {logs}")))
}

/// Waits until all of these nodes are Ready, by the word of the agents that run now: what an earlier agent reported
/// stays in the API while none runs.
pub async fn wait_until_ready(
    client: &Client,
    layout: &Layout,
    names: &[String],
    limit: Duration,
    logs: &str,
) -> Result<()> {
    let mut waiting: Vec<String> = names.to_vec();
    let ready = async {
        loop {
            if let Ok(nodes) = nodes(client).await {
                waiting = names
                    .iter()
                    .filter(|name| {
                        let agent = Record::load(layout, &plan::agent_process(name)).filter(Record::is_alive);
                        let has_reported =
                            |node: &Node| agent.as_ref().is_some_and(|agent| reported_since(node, agent));
                        !nodes.iter().any(|node| is(node, name) && is_ready(node) && has_reported(node))
                    })
                    .cloned()
                    .collect();
                if waiting.is_empty() {
                    return;
                }
            }
            tokio::time::sleep(PATIENCE).await;
        }
    };
    let in_time = tokio::time::timeout(limit, ready).await.is_ok();
    if in_time {
        return Ok(());
    }
    Err(Error::new(format!("not Ready after {} s: {}", limit.as_secs(), waiting.join(", ")))
        .hint(format!("look into {logs}")))
}

fn is(node: &Node, name: &str) -> bool {
    node.metadata.name.as_deref() == Some(name)
}

/// The node's condition Ready.
pub fn is_ready(node: &Node) -> bool {
    ready_condition(node).is_some_and(|condition| condition.status == "True")
}

/// Whether this agent, rather than one before it, was the last to report. Both times are of this machine's clock, in
/// whole seconds.
fn reported_since(node: &Node, agent: &Record) -> bool {
    let heartbeat = ready_condition(node).and_then(|condition| condition.last_heartbeat_time.as_ref());
    heartbeat.is_some_and(|heartbeat| heartbeat.0.as_second() >= agent.started_at)
}

fn ready_condition(node: &Node) -> Option<&NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == "Ready")
}
