//! keelson.store.v1: many calls over one stream.
//!
//! Each call runs on its own, so a slow one holds up nobody; answers that are ready at one moment go in one message.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _};
use keelson_process::Eagerness;
use keelson_wire::store::answer::Response as Answered;
use keelson_wire::store::call::Request as Asked;
use keelson_wire::store::{Answer, Call, Failure, PipelineRequest, PipelineResponse, ReadIndexResponse, store_server};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::Requests;

/// Calls of one stream that are under way.
const MAX_IN_FLIGHT: usize = 4096;
/// Answers in one message, in bytes; and what a client may put into one message beyond its largest request.
pub const MAX_BATCH_BYTES: usize = 1 << 20;
const MAX_BATCH: usize = 256;
/// A client that asks one thing after the other has the next call here within this time.
const NEXT_CALL: Duration = Duration::from_micros(150);

pub struct Pipeline {
    requests: Arc<Requests>,
}

impl Pipeline {
    pub fn new(requests: Arc<Requests>) -> Self {
        Self { requests }
    }
}

/// Like [`answer`], as a span of the caller's trace if there is one.
async fn traced_answer(requests: Arc<Requests>, call: Call) -> Answer {
    if call.traceparent.is_empty() {
        return answer(requests, call).await;
    }
    let span = keelson_process::traced!("raft commit");
    keelson_process::telemetry::set_parent(&span, &call.traceparent);
    answer(requests, call).instrument(span).await
}

async fn answer(requests: Arc<Requests>, call: Call) -> Answer {
    let outcome = match call.request {
        Some(Asked::Txn(txn)) => requests.txn(txn).await.map(Answered::Txn),
        Some(Asked::Range(range)) => requests.range(&range).await.map(Answered::Range),
        Some(Asked::Put(put)) => requests.put(put).await.map(Answered::Put),
        Some(Asked::DeleteRange(delete)) => requests.delete_range(delete).await.map(Answered::DeleteRange),
        Some(Asked::ReadIndex(_)) => {
            let header = requests.read_index().await;
            header.map(|header| Answered::ReadIndex(ReadIndexResponse { header: Some(header) }))
        }
        None => Err(Status::unimplemented("this version does not know the request")),
    };
    let response = outcome.unwrap_or_else(|status| {
        Answered::Failure(Failure { code: status.code() as i32, message: status.message().to_owned() })
    });
    Answer { id: call.id, response: Some(response) }
}

enum Next {
    Answered(Answer),
    Asked(Result<Option<PipelineRequest>, Status>),
}

/// Runs the calls of one stream; ends when the client has ended it and all is answered, or when the client has gone.
async fn converse(
    requests: Arc<Requests>,
    mut incoming: Streaming<PipelineRequest>,
    outgoing: mpsc::Sender<Result<PipelineResponse, Status>>,
) {
    let mut running = FuturesUnordered::new();
    let mut open = true;
    let asking = Eagerness::new(NEXT_CALL);
    while open || !running.is_empty() {
        let is_idle = running.is_empty();
        let next = async {
            tokio::select! {
                biased;
                Some(first) = running.next(), if !running.is_empty() => Next::Answered(first),
                message = incoming.message(), if open && running.len() < MAX_IN_FLIGHT => Next::Asked(message),
            }
        };
        // What is under way waits for the disk, and whoever brings it needs the processor.
        let next = if is_idle { asking.wait(next).await } else { next.await };
        match next {
            Next::Answered(first) => {
                let mut bytes = first.encoded_len();
                let mut answers = vec![first];
                while bytes < MAX_BATCH_BYTES && answers.len() < MAX_BATCH {
                    match futures::FutureExt::now_or_never(running.next()) {
                        Some(Some(answer)) => {
                            bytes += answer.encoded_len();
                            answers.push(answer);
                        }
                        _ => break,
                    }
                }
                if outgoing.send(Ok(PipelineResponse { answers })).await.is_err() {
                    return;
                }
            }
            Next::Asked(Ok(Some(request))) => {
                running.extend(request.calls.into_iter().map(|call| traced_answer(requests.clone(), call)));
            }
            Next::Asked(Ok(None) | Err(_)) => open = false,
        }
    }
}

#[tonic::async_trait]
impl store_server::Store for Pipeline {
    type PipelineStream = Pin<Box<dyn Stream<Item = Result<PipelineResponse, Status>> + Send>>;

    async fn pipeline(
        &self,
        request: Request<Streaming<PipelineRequest>>,
    ) -> Result<Response<Self::PipelineStream>, Status> {
        let (outgoing, stream) = mpsc::channel(16);
        tokio::spawn(converse(self.requests.clone(), request.into_inner(), outgoing));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
