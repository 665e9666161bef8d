//! The service's methods: find the pod and its container, then hand over to the stream.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use keelson_wire::node::node_server::Node;
use keelson_wire::node::{
    ExecInput, ExecOutput, ExecStart, LogChunk, LogsRequest, PortForwardInput, PortForwardOutput, exec_input,
    port_forward_input,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::log_format::{Filter, Renderer};
use super::logs::{self, Reading};
use super::{exec, port_forward};
use crate::context::Context;
use crate::pods::dispatcher::Directory;
use crate::pods::spec;
use crate::runtime::{Container, ContainerFilter, ContainerState, ExecSpec};

/// Chunks that wait for a slow reader; then reading pauses.
const CHUNKS: usize = 16;

pub struct NodeService {
    pub context: Context,
    pub directory: Directory,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Node for NodeService {
    type LogsStream = Answers<LogChunk>;
    type ExecStream = Answers<ExecOutput>;
    type AttachStream = Answers<ExecOutput>;
    type PortForwardStream = Answers<PortForwardOutput>;

    async fn logs(&self, request: Request<LogsRequest>) -> Result<Response<Self::LogsStream>, Status> {
        let request = request.into_inner();
        let pod = self.pod(&request.namespace, &request.pod, &request.pod_uid)?;
        let container = self.logged_container(&pod, &request).await?;
        let reading = Reading {
            container,
            renderer: Renderer::new(filter(&request)?, request.limit_bytes.map(at_least_zero)),
            tail: request.tail_lines.map(at_least_zero),
            follow: request.follow && !request.previous,
        };
        let (sink, chunks) = mpsc::channel::<Bytes>(CHUNKS);
        let (failures, failed) = mpsc::channel::<Status>(1);
        let context = self.context.clone();
        tokio::spawn(async move {
            if let Err(error) = logs::read(context, reading, sink).await {
                // The reader may be gone, which is one way for a log to end.
                let _ = failures.send(Status::internal(format!("cannot read the log: {error}"))).await;
            }
        });
        let chunks = ReceiverStream::new(chunks).map(|data| Ok(LogChunk { data }));
        let failed = ReceiverStream::new(failed).map(Err);
        Ok(Response::new(Box::pin(chunks.chain(failed))))
    }

    async fn exec(&self, request: Request<Streaming<ExecInput>>) -> Result<Response<Self::ExecStream>, Status> {
        let mut inputs = request.into_inner();
        let start = first_input(&mut inputs).await?;
        if start.command.is_empty() {
            return Err(Status::invalid_argument("you must specify at least 1 command for the container"));
        }
        let container = self.running_container(&start).await?;
        let spec = ExecSpec {
            container_id: container.id,
            command: start.command.clone(),
            tty: start.tty,
            stdin: start.stdin,
            stdout: start.stdout,
            stderr: start.stderr && !start.tty,
        };
        let session = self.context.runtime.exec(spec).await.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(Box::pin(exec::stream(session, inputs))))
    }

    async fn attach(&self, request: Request<Streaming<ExecInput>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut inputs = request.into_inner();
        let start = first_input(&mut inputs).await?;
        let container = self.running_container(&start).await?;
        let session = self.context.runtime.attach(&container.id, start.stdin).await;
        let session = session.map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(Box::pin(exec::stream(session, inputs))))
    }

    async fn port_forward(
        &self,
        request: Request<Streaming<PortForwardInput>>,
    ) -> Result<Response<Self::PortForwardStream>, Status> {
        let mut inputs = request.into_inner();
        let start = match inputs.message().await?.and_then(|message| message.input) {
            Some(port_forward_input::Input::Start(start)) => start,
            _ => return Err(Status::invalid_argument("the first message must be `start`")),
        };
        let pod = self.pod(&start.namespace, &start.pod, &start.pod_uid)?;
        let sandboxes = self.context.runtime.sandboxes().await.map_err(|error| Status::internal(error.to_string()))?;
        let sandbox = sandboxes
            .into_iter()
            .filter(|sandbox| sandbox.pod.uid == spec::uid(&pod) && sandbox.ready)
            .max_by_key(|sandbox| sandbox.attempt)
            .ok_or_else(|| {
                Status::failed_precondition(format!("pod {} has no running sandbox", spec::long_name(&pod)))
            })?;
        Ok(Response::new(Box::pin(port_forward::stream(sandbox.netns, inputs))))
    }
}

impl NodeService {
    fn pod(&self, namespace: &str, name: &str, uid: &str) -> Result<Arc<Pod>, Status> {
        let found = self.directory.find(namespace, name);
        let found = found.filter(|pod| uid.is_empty() || spec::uid(pod) == uid);
        found.ok_or_else(|| Status::not_found(format!("pods \"{name}\" not found")))
    }

    async fn instances(&self, pod: &Pod, container: &str) -> Result<Vec<Container>, Status> {
        if spec::find_container(pod, container).is_none() {
            return Err(Status::invalid_argument(format!(
                "container {container} is not valid for pod {}",
                spec::name(pod)
            )));
        }
        let filter = ContainerFilter { pod_uid: Some(spec::uid(pod).to_owned()), ..ContainerFilter::default() };
        let all = self.context.runtime.containers(&filter).await;
        let all = all.map_err(|error| Status::internal(error.to_string()))?;
        let mut instances: Vec<Container> = all.into_iter().filter(|known| known.name == container).collect();
        instances.sort_by_key(|instance| std::cmp::Reverse(instance.attempt));
        Ok(instances)
    }

    /// The instance whose log is asked for: the newest that ever ran, or with `previous` the one before the newest.
    async fn logged_container(&self, pod: &Pod, request: &LogsRequest) -> Result<Container, Status> {
        let name = &request.container;
        let instances = self.instances(pod, name).await?;
        let mut instances = instances.into_iter();
        let newest = instances.next();
        if request.previous {
            let missing = || {
                Status::invalid_argument(format!(
                    "previous terminated container \"{name}\" in pod \"{}\" not found",
                    spec::name(pod)
                ))
            };
            // While the newest waits to be replaced it is itself the one that ended last.
            return instances
                .next()
                .or(newest.filter(|newest| newest.exit().is_some() && self.waits(pod, name)))
                .ok_or_else(missing);
        }
        newest.filter(|newest| newest.state != ContainerState::Created).ok_or_else(|| {
            Status::invalid_argument(format!(
                "container \"{name}\" in pod \"{}\" is waiting to start: {}",
                spec::name(pod),
                waiting_reason(pod, name)
            ))
        })
    }

    /// The API shows the container as waiting to be started again.
    fn waits(&self, pod: &Pod, name: &str) -> bool {
        let status = pod.status.as_ref();
        let all = status.into_iter().flat_map(|status| status.container_statuses.iter().flatten());
        all.filter(|status| status.name == name)
            .any(|status| status.state.as_ref().is_some_and(|state| state.waiting.is_some()))
    }

    async fn running_container(&self, start: &ExecStart) -> Result<Container, Status> {
        let pod = self.pod(&start.namespace, &start.pod, &start.pod_uid)?;
        let instances = self.instances(&pod, &start.container).await?;
        let running = instances.into_iter().find(Container::is_running);
        running.ok_or_else(|| Status::failed_precondition(format!("container not found (\"{}\")", start.container)))
    }
}

async fn first_input(inputs: &mut Streaming<ExecInput>) -> Result<ExecStart, Status> {
    match inputs.message().await?.and_then(|message| message.input) {
        Some(exec_input::Input::Start(start)) => Ok(start),
        _ => Err(Status::invalid_argument("the first message must be `start`")),
    }
}

fn filter(request: &LogsRequest) -> Result<Filter, Status> {
    let since = if let Some(seconds) = request.since_seconds {
        Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok()
    } else if request.since_time.is_empty() {
        None
    } else {
        let time = request.since_time.parse::<Timestamp>();
        Some(time.map_err(|error| Status::invalid_argument(format!("sinceTime: {error}")))?)
    };
    let stream = match request.stream.as_str() {
        "Stdout" => Some("stdout".to_owned()),
        "Stderr" => Some("stderr".to_owned()),
        _ => None,
    };
    Ok(Filter { since, timestamps: request.timestamps, stream })
}

fn at_least_zero(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn waiting_reason(pod: &Pod, name: &str) -> String {
    let status = pod.status.as_ref();
    let all = status.into_iter().flat_map(|status| {
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten())
    });
    let reason = all
        .filter(|status| status.name == name)
        .find_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.clone());
    reason.unwrap_or_else(|| "ContainerCreating".to_owned())
}
