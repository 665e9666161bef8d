//! pods/exec and pods/attach: a remote command session over a WebSocket.

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Closed, Session};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::LocalBoxStream;
use futures::{StreamExt, TryStreamExt};
use keelson_objects::status::StatusError;
use keelson_wire::node::exec_input::Input;
use keelson_wire::node::exec_output::Output;
use keelson_wire::node::node_client::NodeClient;
use keelson_wire::node::{ExecInput, ExecOutput, ExecStart};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::query::Query;
use super::session::Dialect;
use super::{IN_FLIGHT, connect, container, session, target, websocket};
use crate::cluster::Cluster;
use crate::kinds::fields::Fields;
use crate::pipeline::Request;
use crate::registry::Connect;

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
    let (response, session, messages, protocol) = websocket::accept(http, payload, session::PROTOCOLS)?;
    let client = Client { session, dialect: Dialect::of(protocol) };
    let messages = messages.aggregate_continuations();
    actix_web::rt::spawn(async move {
        relay(agent, start, to_agent, inputs, client, messages).await;
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

/// The one who asked, in the protocol that was agreed on.
struct Client {
    session: Session,
    dialect: Dialect,
}

impl Client {
    async fn send(&mut self, message: Bytes) -> Result<(), Closed> {
        self.dialect.send(&mut self.session, message).await
    }
}

/// Carries messages both ways until the command ends, the client goes or the agent breaks off.
async fn relay(
    mut agent: NodeClient<Channel>,
    start: ExecStart,
    to_agent: mpsc::Sender<ExecInput>,
    inputs: mpsc::Receiver<ExecInput>,
    mut client: Client,
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
    if client.send(session::framed(session::STDOUT, &[])).await.is_err() {
        return;
    }
    if let Err(status) = carry(to_agent, outputs, &mut client, messages).await {
        let what = if is_attach { "attaching to container" } else { "executing command in container" };
        tracing::debug!(%container, %status, "remote command session failed");
        let failure = StatusError::internal(format!("error {what}: {}", status.message()));
        // the client may be gone, which is as good an end as any
        drop(client.send(client.dialect.failure(&failure)).await);
    }
    drop(client.session.close(Some(CloseReason { code: CloseCode::Normal, description: None })).await);
}

/// `Err` when the agent broke off; a client that goes ends the session quietly, and with it the agent's stream.
async fn carry(
    to_agent: mpsc::Sender<ExecInput>,
    mut outputs: LocalBoxStream<'static, Result<ExecOutput, tonic::Status>>,
    client: &mut Client,
    mut messages: AggregatedMessageStream,
) -> Result<(), tonic::Status> {
    let mut pending: Option<ExecInput> = None;
    loop {
        tokio::select! {
            output = outputs.next() => {
                let Some(output) = output.transpose()? else {
                    return Err(tonic::Status::unavailable("the node agent ended the session without an exit code"));
                };
                let (message, is_last) = match output.output {
                    Some(Output::Stdout(data)) => (Some(session::framed(session::STDOUT, &data)), false),
                    Some(Output::Stderr(data)) => (Some(session::framed(session::STDERR, &data)), false),
                    Some(Output::ExitCode(code)) => (client.dialect.exit(code), true),
                    None => continue,
                };
                if let Some(message) = message
                    && client.send(message).await.is_err()
                {
                    return Ok(());
                }
                if is_last {
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
                Some(Ok(message @ (AggregatedMessage::Binary(_) | AggregatedMessage::Text(_)))) => {
                    pending = client.dialect.input(&message).map(|input| ExecInput { input: Some(input) });
                }
                Some(Ok(AggregatedMessage::Ping(data))) => {
                    if client.session.pong(&data).await.is_err() {
                        return Ok(());
                    }
                }
                Some(Ok(AggregatedMessage::Pong(_))) => {}
                Some(Ok(AggregatedMessage::Close(_)) | Err(_)) | None => return Ok(()),
            },
        }
    }
}
