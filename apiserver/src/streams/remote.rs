//! pods/exec and pods/attach: a remote command session over a WebSocket.

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use async_trait::async_trait;
use futures::stream::LocalBoxStream;
use futures::{StreamExt, TryStreamExt};
use keelson_objects::status::StatusError;
use keelson_wire::node::exec_input::Input;
use keelson_wire::node::node_client::NodeClient;
use keelson_wire::node::{ExecInput, ExecOutput, ExecStart};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::query::Query;
use super::{IN_FLIGHT, connect, container, session, target, websocket};
use crate::cluster::Cluster;
use crate::kinds::fields::Fields;
use crate::pipeline::Request;
use crate::registry::Connect;

const PROTOCOLS: &[&str] = &["v5.channel.k8s.io", "v4.channel.k8s.io"];

pub struct Exec;
pub struct Attach;

#[async_trait(?Send)]
impl Connect for Exec {
    async fn connect(
        &self,
        cluster: &Cluster,
        request: Request,
        http: HttpRequest,
        payload: web::Payload,
    ) -> Result<HttpResponse, StatusError> {
        let command: Vec<String> = Query::parse(http.query_string()).all("command").map(str::to_owned).collect();
        if command.is_empty() {
            return Err(StatusError::bad_request("you must specify at least 1 command to execute"));
        }
        run(cluster, &request, &http, payload, command).await
    }
}

#[async_trait(?Send)]
impl Connect for Attach {
    async fn connect(
        &self,
        cluster: &Cluster,
        request: Request,
        http: HttpRequest,
        payload: web::Payload,
    ) -> Result<HttpResponse, StatusError> {
        run(cluster, &request, &http, payload, Vec::new()).await
    }
}

/// Without a command it is an attach.
async fn run(
    cluster: &Cluster,
    request: &Request,
    http: &HttpRequest,
    payload: web::Payload,
    command: Vec<String>,
) -> Result<HttpResponse, StatusError> {
    let query = Query::parse(http.query_string());
    let pod = target::pod(cluster, request).await?;
    let start = start(&query, &pod, request, command)?;
    let agent = connect::agent(cluster, target::node_name(&pod)?).await?;

    let (to_agent, inputs) = mpsc::channel(IN_FLIGHT);
    let (response, session, messages, _) = websocket::accept(http, payload, PROTOCOLS)?;
    let messages = messages.aggregate_continuations();
    actix_web::rt::spawn(async move {
        relay(agent, start, to_agent, inputs, session, messages).await;
    });
    Ok(response)
}

fn start(query: &Query, pod: &Value, request: &Request, command: Vec<String>) -> Result<ExecStart, StatusError> {
    let tty = query.flag("tty");
    let start = ExecStart {
        namespace: request.namespace.clone(),
        pod: request.name.clone(),
        pod_uid: pod.sub("metadata").text("uid").to_owned(),
        container: container::choose(pod, query.text("container"))?,
        command,
        stdin: query.flag("stdin"),
        stdout: query.flag("stdout"),
        // a terminal has one stream out
        stderr: query.flag("stderr") && !tty,
        tty,
    };
    if !start.stdin && !start.stdout && !start.stderr {
        return Err(StatusError::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(start)
}

/// Carries messages both ways until the command ends, the client goes or the agent breaks off.
async fn relay(
    mut agent: NodeClient<Channel>,
    start: ExecStart,
    to_agent: mpsc::Sender<ExecInput>,
    inputs: mpsc::Receiver<ExecInput>,
    mut client: Session,
    messages: AggregatedMessageStream,
) {
    let is_attach = start.command.is_empty();
    let container = start.container.clone();
    // the start goes first: the agent answers only after it
    if to_agent.try_send(ExecInput { input: Some(Input::Start(start)) }).is_err() {
        return;
    }
    // the agent may begin its answer with the first output, which may need input first
    let outputs = futures::stream::once(async move {
        let inputs = ReceiverStream::new(inputs);
        let answer = if is_attach { agent.attach(inputs).await } else { agent.exec(inputs).await };
        answer.map(tonic::Response::into_inner)
    });
    let outputs = outputs.try_flatten().boxed_local();
    // tells the client that the session stands
    if client.binary(session::framed(session::STDOUT, &[])).await.is_err() {
        return;
    }
    if let Err(status) = carry(to_agent, outputs, &mut client, messages).await {
        let what = if is_attach { "attaching to container" } else { "executing command in container" };
        tracing::debug!(%container, %status, "remote command session failed");
        let failure = StatusError::internal(format!("error {what}: {}", status.message()));
        // the client may be gone, which is as good an end as any
        drop(client.binary(session::failure(&failure)).await);
    }
    drop(client.close(Some(CloseReason { code: CloseCode::Normal, description: None })).await);
}

/// `Err` when the agent broke off; a client that goes ends the session quietly, and with it the agent's stream.
async fn carry(
    to_agent: mpsc::Sender<ExecInput>,
    mut outputs: LocalBoxStream<'static, Result<ExecOutput, tonic::Status>>,
    client: &mut Session,
    mut messages: AggregatedMessageStream,
) -> Result<(), tonic::Status> {
    let mut pending: Option<ExecInput> = None;
    loop {
        tokio::select! {
            output = outputs.next() => {
                let Some(output) = output.transpose()? else {
                    return Err(tonic::Status::unavailable("the node agent ended the session without an exit code"));
                };
                let Some((message, is_last)) = session::output(output) else { continue };
                if client.binary(message).await.is_err() || is_last {
                    return Ok(());
                }
            }
            // one message waits for the agent at most, and no further one is read meanwhile
            permit = to_agent.reserve(), if pending.is_some() => match (permit, pending.take()) {
                (Ok(permit), Some(input)) => permit.send(input),
                // the agent takes no more input; its output may still come
                _ => continue,
            },
            message = messages.next(), if pending.is_none() => match message {
                Some(Ok(AggregatedMessage::Binary(data))) => {
                    pending = session::input(&data).map(|input| ExecInput { input: Some(input) });
                }
                Some(Ok(AggregatedMessage::Ping(data))) => {
                    if client.pong(&data).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Ok(AggregatedMessage::Text(_) | AggregatedMessage::Pong(_))) => {}
                Some(Ok(AggregatedMessage::Close(_)) | Err(_)) | None => return Ok(()),
            },
        }
    }
}
