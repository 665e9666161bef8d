//! pods/portforward: connections to a pod's ports, each a pair of SPDY streams, one for data and one for errors.
//!
//! [`Forwarder`] is the pure part: frames and the agent's messages in, what to send where out.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, Session};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::LocalBoxStream;
use futures::{StreamExt, TryStreamExt};
use keelson_objects::status::StatusError;
use keelson_wire::node::port_forward_input::{Input, Open};
use keelson_wire::node::port_forward_output::Output;
use keelson_wire::node::{PortForwardInput, PortForwardOutput, PortForwardStart};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::spdy::{self, Frame};
use super::{IN_FLIGHT, connect, target, websocket};
use crate::cluster::Cluster;
use crate::kinds::fields::Fields;
use crate::pipeline::Request;
use crate::registry::Connect;

const PROTOCOLS: &[&str] = &["SPDY/3.1+portforward.k8s.io"];
/// Connections that one port-forward may have at a time.
const CONNECTIONS: usize = 1024;
const PROTOCOL_ERROR: u32 = 1;
const REFUSED: u32 = 3;

pub struct PortForward;

#[async_trait(?Send)]
impl Connect for PortForward {
    async fn connect(
        &self,
        cluster: &Cluster,
        request: Request,
        http: HttpRequest,
        payload: web::Payload,
    ) -> Result<HttpResponse, StatusError> {
        let pod = target::pod(cluster, &request).await?;
        let mut agent = connect::agent(cluster, target::node_name(&pod)?).await?;
        let start = PortForwardStart {
            namespace: request.namespace.clone(),
            pod: request.name.clone(),
            pod_uid: pod.sub("metadata").text("uid").to_owned(),
        };
        let (response, session, messages, _) = websocket::accept(&http, payload, PROTOCOLS)?;
        let messages = messages.aggregate_continuations();
        actix_web::rt::spawn(async move {
            let (to_agent, inputs) = mpsc::channel(IN_FLIGHT);
            let first = PortForwardInput { connection: 0, input: Some(Input::Start(start)) };
            if to_agent.try_send(first).is_err() {
                return;
            }
            // the agent may begin its answer with the first data, which may need a request first
            let outputs = futures::stream::once(async move {
                agent.port_forward(ReceiverStream::new(inputs)).await.map(tonic::Response::into_inner)
            });
            let outputs = outputs.try_flatten().boxed_local();
            if let Err(status) = carry(to_agent, outputs, session, messages).await {
                tracing::debug!(%status, "port forward broke off");
            }
        });
        Ok(response)
    }
}

/// Carries frames and messages until the client goes or the agent breaks off.
async fn carry(
    to_agent: mpsc::Sender<PortForwardInput>,
    mut outputs: LocalBoxStream<'static, Result<PortForwardOutput, tonic::Status>>,
    mut client: Session,
    mut messages: AggregatedMessageStream,
) -> Result<(), tonic::Status> {
    let mut reader = spdy::Reader::new();
    let mut forwarder = Forwarder::default();
    let ended = loop {
        let actions = tokio::select! {
            output = outputs.next() => match output {
                Some(Ok(output)) => forwarder.output(output),
                Some(Err(status)) => break Err(status),
                None => break Ok(()),
            },
            message = messages.next() => match message {
                Some(Ok(AggregatedMessage::Binary(bytes))) => {
                    reader.push(&bytes);
                    match read(&mut reader, &mut forwarder) {
                        Ok(actions) => actions,
                        Err(error) => break Err(tonic::Status::invalid_argument(error.to_string())),
                    }
                }
                Some(Ok(AggregatedMessage::Ping(data))) => match client.pong(&data).await {
                    Ok(()) => continue,
                    Err(_) => break Ok(()),
                },
                Some(Ok(AggregatedMessage::Text(_) | AggregatedMessage::Pong(_))) => continue,
                Some(Ok(AggregatedMessage::Close(_)) | Err(_)) | None => break Ok(()),
            },
        };
        if !perform(actions, &to_agent, &mut client).await {
            break Ok(());
        }
    };
    let (code, description) = match &ended {
        Ok(()) => (CloseCode::Normal, None),
        Err(status) => (CloseCode::Error, Some(status.message().to_owned())),
    };
    drop(client.close(Some(CloseReason { code, description })).await);
    ended
}

fn read(reader: &mut spdy::Reader, forwarder: &mut Forwarder) -> Result<Vec<Action>, spdy::Error> {
    let mut actions = Vec::new();
    while let Some(frame) = reader.next()? {
        actions.extend(forwarder.frame(frame));
    }
    Ok(actions)
}

/// False when one of the two sides is gone.
async fn perform(actions: Vec<Action>, to_agent: &mpsc::Sender<PortForwardInput>, client: &mut Session) -> bool {
    for action in actions {
        let done = match action {
            Action::Client(frame) => client.binary(frame).await.is_ok(),
            Action::Agent(connection, input) => {
                to_agent.send(PortForwardInput { connection, input: Some(input) }).await.is_ok()
            }
        };
        if !done {
            return false;
        }
    }
    true
}

#[derive(Debug, PartialEq)]
enum Action {
    Client(Bytes),
    Agent(u32, Input),
}

/// The connections of one port-forward. A connection's number is its data stream's.
#[derive(Default)]
struct Forwarder {
    replied: bool,
    /// Error streams that wait for their data stream, by request id.
    waiting: HashMap<String, u32>,
    /// Error streams by data stream.
    open: HashMap<u32, u32>,
}

impl Forwarder {
    fn frame(&mut self, frame: Frame) -> Vec<Action> {
        match frame {
            Frame::Open { stream, headers, .. } => self.open(stream, &headers),
            Frame::Data { stream, data, fin } => self.data(stream, data, fin),
            Frame::Reset { stream } => self.reset(stream),
            Frame::Ping { id } => vec![Action::Client(spdy::pong(id))],
            Frame::GoAway => Vec::new(),
        }
    }

    fn open(&mut self, stream: u32, headers: &[(String, String)]) -> Vec<Action> {
        let header = |name: &str| headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value.as_str());
        let port = header("port").parse::<u16>().ok().filter(|port| *port > 0);
        let (Some(port), request) = (port, header("requestid").to_owned()) else {
            return vec![Action::Client(spdy::reset(stream, PROTOCOL_ERROR))];
        };
        match header("streamtype") {
            "error" if self.waiting.len() + self.open.len() < CONNECTIONS => {
                self.waiting.insert(request, stream);
                vec![self.reply(stream)]
            }
            "data" => match self.waiting.remove(&request) {
                Some(errors) => {
                    self.open.insert(stream, errors);
                    vec![self.reply(stream), Action::Agent(stream, Input::Open(Open { port: port.into() }))]
                }
                None => vec![Action::Client(spdy::reset(stream, PROTOCOL_ERROR))],
            },
            _ => vec![Action::Client(spdy::reset(stream, REFUSED))],
        }
    }

    fn reply(&mut self, stream: u32) -> Action {
        let is_first = !std::mem::replace(&mut self.replied, true);
        Action::Client(spdy::reply(stream, is_first))
    }

    fn data(&mut self, stream: u32, data: Bytes, fin: bool) -> Vec<Action> {
        // what comes on an error stream is only its end
        if !self.open.contains_key(&stream) {
            return Vec::new();
        }
        let mut actions = Vec::new();
        if !data.is_empty() {
            actions.push(Action::Agent(stream, Input::Data(data)));
        }
        if fin {
            actions.push(Action::Agent(stream, Input::Closed(true)));
        }
        actions
    }

    fn reset(&mut self, stream: u32) -> Vec<Action> {
        self.waiting.retain(|_, errors| *errors != stream);
        match self.open.remove(&stream) {
            Some(_) => vec![Action::Agent(stream, Input::Closed(true))],
            None => Vec::new(),
        }
    }

    fn output(&mut self, output: PortForwardOutput) -> Vec<Action> {
        let stream = output.connection;
        let Some(errors) = self.open.get(&stream).copied() else { return Vec::new() };
        match output.output {
            Some(Output::Data(data)) => vec![Action::Client(spdy::data(stream, &data, false))],
            Some(Output::Closed(_)) => {
                self.open.remove(&stream);
                vec![Action::Client(spdy::fin(stream)), Action::Client(spdy::fin(errors))]
            }
            Some(Output::Error(text)) => {
                self.open.remove(&stream);
                vec![Action::Client(spdy::data(errors, text.as_bytes(), true)), Action::Client(spdy::fin(stream))]
            }
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening(stream: u32, kind: &str) -> Frame {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![header("streamtype", kind), header("port", "80"), header("requestid", "0")];
        Frame::Open { stream, headers, fin: false }
    }

    fn from_agent(connection: u32, output: Output) -> PortForwardOutput {
        PortForwardOutput { connection, output: Some(output) }
    }

    #[test]
    fn a_connection_is_a_pair_of_streams() {
        let mut forwarder = Forwarder::default();
        assert_eq!(forwarder.frame(opening(1, "error")), [Action::Client(spdy::reply(1, true))]);
        assert_eq!(
            forwarder.frame(opening(3, "data")),
            [Action::Client(spdy::reply(3, false)), Action::Agent(3, Input::Open(Open { port: 80 }))]
        );
        let data = Frame::Data { stream: 3, data: Bytes::from_static(b"GET"), fin: true };
        assert_eq!(
            forwarder.frame(data),
            [Action::Agent(3, Input::Data(Bytes::from_static(b"GET"))), Action::Agent(3, Input::Closed(true))]
        );
        assert_eq!(
            forwarder.output(from_agent(3, Output::Data(Bytes::from_static(b"200")))),
            [Action::Client(spdy::data(3, b"200", false))]
        );
        assert_eq!(
            forwarder.output(from_agent(3, Output::Closed(true))),
            [Action::Client(spdy::fin(3)), Action::Client(spdy::fin(1))]
        );
        assert_eq!(forwarder.output(from_agent(3, Output::Data(Bytes::from_static(b"late")))), []);
    }

    #[test]
    fn errors_go_to_the_error_stream() {
        let mut forwarder = Forwarder::default();
        forwarder.frame(opening(1, "error"));
        forwarder.frame(opening(3, "data"));
        assert_eq!(
            forwarder.output(from_agent(3, Output::Error("refused".to_owned()))),
            [Action::Client(spdy::data(1, b"refused", true)), Action::Client(spdy::fin(3))]
        );
    }

    #[test]
    fn strays_are_refused() {
        let mut forwarder = Forwarder::default();
        assert_eq!(forwarder.frame(opening(3, "data")), [Action::Client(spdy::reset(3, PROTOCOL_ERROR))]);
        assert_eq!(forwarder.frame(opening(5, "other")), [Action::Client(spdy::reset(5, REFUSED))]);
        assert_eq!(forwarder.frame(Frame::Ping { id: 9 }), [Action::Client(spdy::pong(9))]);
        assert_eq!(forwarder.frame(Frame::Data { stream: 9, data: Bytes::new(), fin: true }), []);
        forwarder.frame(opening(7, "error"));
        forwarder.frame(opening(9, "data"));
        assert_eq!(forwarder.frame(Frame::Reset { stream: 9 }), [Action::Agent(9, Input::Closed(true))]);
    }
}
